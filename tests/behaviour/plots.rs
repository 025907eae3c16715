//! What `plot` draws.

use std::fs;
use std::path::Path;

use crate::program::reproduce;

/// A log of these losses in training, and one in validation at its end.
fn log(folder: &Path, losses: &[f64], valid: f64) {
    fs::create_dir_all(folder).unwrap();
    let mut lines = String::new();
    for (loss, i) in losses.iter().zip(1..) {
        lines += &format!(
            "{{\"kind\":\"steps\",\"step\":{},\"epoch\":1,\"loss\":{loss},\"rate\":0.001,\
             \"tokens_per_second\":100.0}}\n",
            20 * i
        );
    }
    lines += &format!(
        "{{\"kind\":\"epoch\",\"epoch\":1,\"train_loss\":4.0,\"valid_loss\":{valid},\
         \"valid_ppl\":{},\"seconds\":1.0}}\n",
        serde_json::json!(valid.exp())
    );
    fs::write(folder.join("metrics.jsonl"), lines).unwrap();
}

/// The SVG of these runs, and what the command said.
fn drawn(folder: &Path, runs: &[&str]) -> (String, String) {
    let runs = runs.iter().map(|run| folder.join(run).to_str().unwrap().to_owned());
    let runs: Vec<String> = runs.collect();
    let mut args: Vec<&str> = vec!["plot", "--out", folder.to_str().unwrap()];
    args.extend(runs.iter().map(String::as_str));
    let ran = reproduce(&args);
    ran.succeeds();
    (fs::read_to_string(folder.join("training_curve.svg")).unwrap(), ran.stdout)
}

fn texts(svg: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let texts = document.descendants().filter(|node| node.has_tag_name("text"));
    texts.filter_map(|node| Some(node.text()?.trim().to_owned())).collect()
}

/// The lines of the first curve, each as its points.
fn lines(svg: &str) -> Vec<Vec<(f64, f64)>> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let curves = document.descendants().filter(|node| {
        node.has_tag_name("polyline") && node.attribute("stroke") == Some("#0072B2")
    });
    let points = curves.map(|node| {
        let points = node.attribute("points").unwrap().split_whitespace();
        let pair = |point: &str| {
            let (x, y) = point.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        points.map(pair).collect::<Vec<(f64, f64)>>()
    });
    // The piece in the legend has two points.
    points.filter(|points| points.len() > 2).collect()
}

/// From an untrained model of 267,735 words to the entry's perplexity.
#[test]
fn a_real_run_is_no_flat_line() {
    let folder = tempfile::tempdir().unwrap();
    let beginning = (0..100).map(|i| 12.5 - 0.075 * f64::from(i));
    let losses: Vec<f64> = beginning.chain((0..300).map(|i| 5.0 - 0.005 * f64::from(i))).collect();
    log(&folder.path().join("run"), &losses, 3.6);
    let (svg, _) = drawn(folder.path(), &["run"]);
    let [curve] = &lines(&svg)[..] else { panic!("{svg}") };
    let trained = &curve[curve.len() / 4..];
    let (low, high) =
        trained.iter().fold((f64::MAX, f64::MIN), |(low, high), &(_, y)| (low.min(y), high.max(y)));
    // Of a picture 2080 high.
    assert!(high - low > 400.0, "{low} {high}");
    assert!(!texts(&svg).iter().any(|text| text == "100,000"), "{:?}", texts(&svg));
}

#[test]
fn a_line_is_broken_at_a_point_that_is_infinite() {
    let folder = tempfile::tempdir().unwrap();
    log(&folder.path().join("run"), &[4.0, 3.9, 3.8, 800.0, 3.7, 3.6, 3.5], 3.6);
    let (svg, _) = drawn(folder.path(), &["run"]);
    assert_eq!(lines(&svg).iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn a_run_of_infinite_perplexities_is_not_said_to_be_unmeasured() {
    let folder = tempfile::tempdir().unwrap();
    log(&folder.path().join("run"), &[800.0, 900.0], 800.0);
    let (svg, said) = drawn(folder.path(), &["run"]);
    assert!(texts(&svg).iter().any(|text| text.starts_with("every value is infinite")), "{svg}");
    assert!(said.starts_with("wrote 2 curves of 1 run to "), "{said}");
}

#[test]
fn runs_of_one_name_have_two_names_in_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    log(&folder.path().join("x1/run"), &[4.0, 3.9], 3.8);
    log(&folder.path().join("x2/run"), &[4.0, 3.8], 3.7);
    let (svg, _) = drawn(folder.path(), &["x1/run", "x2/run"]);
    for name in ["x1/run", "x2/run", "x1/run, valid", "x2/run, valid"] {
        assert!(texts(&svg).iter().any(|text| text == name), "{name}: {:?}", texts(&svg));
    }
}

#[test]
fn what_the_png_cannot_show_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for run in ["跑步", "مرحبا", "plain é Ω ж"] {
        log(&folder.path().join(run), &[4.0, 3.9], 3.8);
    }
    let (svg, said) = drawn(folder.path(), &["跑步", "مرحبا"]);
    assert!(texts(&svg).iter().any(|text| text == "跑步"));
    assert!(said.contains('跑') && said.contains('م') && said.contains("PNG"), "{said}");
    let (_, said) = drawn(folder.path(), &["plain é Ω ж"]);
    assert!(!said.contains("boxes"), "{said}");
}
