//! Plots of `reproduce plot` and of the table.

use std::fs;
use std::path::Path;

use crate::program::reproduce;

/// Writes a log with these training losses and a validation loss after the last.
fn write_log(folder: &Path, losses: &[f64], valid: f64) {
    fs::create_dir_all(folder).unwrap();
    let mut log = String::new();
    for (loss, i) in losses.iter().zip(1..) {
        log += &format!(
            "{{\"kind\":\"steps\",\"step\":{},\"epoch\":1,\"loss\":{loss},\"rate\":0.001,\
             \"tokens_per_second\":100.0}}\n",
            20 * i
        );
    }
    log += &format!(
        "{{\"kind\":\"epoch\",\"epoch\":1,\"train_loss\":4.0,\"valid_loss\":{valid},\
         \"valid_ppl\":{},\"seconds\":1.0}}\n",
        serde_json::json!(valid.exp())
    );
    fs::write(folder.join("metrics.jsonl"), log).unwrap();
}

/// Plots these runs; returns the SVG and standard output.
fn plot(folder: &Path, runs: &[&str]) -> (String, String) {
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

/// The line segments of the first curve as points.
fn segments(svg: &str) -> Vec<Vec<(f64, f64)>> {
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
    // The line in the legend has two points.
    points.filter(|points| points.len() > 2).collect()
}

/// Losses of a whole training run on WikiText-103, from the untrained model on.
#[test]
fn the_steep_start_does_not_flatten_the_curve() {
    let folder = tempfile::tempdir().unwrap();
    let start = (0..100).map(|i| 12.5 - 0.075 * f64::from(i));
    let losses: Vec<f64> = start.chain((0..300).map(|i| 5.0 - 0.005 * f64::from(i))).collect();
    write_log(&folder.path().join("run"), &losses, 3.6);
    let (svg, _) = plot(folder.path(), &["run"]);
    let [curve] = &segments(&svg)[..] else { panic!("{svg}") };
    let note = texts(&svg).join(" ");
    assert!(note.contains("Points not shown: 97 at the start of a curve"), "{note}");
    let trained = &curve[curve.len() / 4..];
    let (low, high) =
        trained.iter().fold((f64::MAX, f64::MIN), |(low, high), &(_, y)| (low.min(y), high.max(y)));
    // The page is 520 pixels high.
    assert!(high - low > 100.0, "{low} {high}");
    assert!(!texts(&svg).iter().any(|text| text == "100,000"), "{:?}", texts(&svg));
}

#[test]
fn a_line_is_interrupted_at_an_infinite_point() {
    let folder = tempfile::tempdir().unwrap();
    write_log(&folder.path().join("run"), &[4.0, 3.9, 3.8, 800.0, 3.7, 3.6, 3.5], 3.6);
    let (svg, _) = plot(folder.path(), &["run"]);
    assert_eq!(segments(&svg).iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn a_run_of_infinite_perplexities_gives_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    write_log(&folder.path().join("run"), &[800.0, 900.0], 800.0);
    let (svg, stdout) = plot(folder.path(), &["run"]);
    assert!(texts(&svg).iter().any(|text| text.starts_with("every value is infinite")), "{svg}");
    assert!(stdout.starts_with("wrote 2 curves of 1 run to "), "{stdout}");
}

#[test]
fn runs_with_the_same_name_have_different_labels() {
    let folder = tempfile::tempdir().unwrap();
    write_log(&folder.path().join("x1/run"), &[4.0, 3.9], 3.8);
    write_log(&folder.path().join("x2/run"), &[4.0, 3.8], 3.7);
    let (svg, _) = plot(folder.path(), &["x1/run", "x2/run"]);
    for name in ["x1/run, training", "x2/run, training", "x1/run, validation", "x2/run, validation"]
    {
        assert!(texts(&svg).iter().any(|text| text == name), "{name}: {:?}", texts(&svg));
    }
}

#[test]
fn characters_missing_in_the_png_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    for run in ["跑步", "مرحبا", "plain é Ω ж"] {
        write_log(&folder.path().join(run), &[4.0, 3.9], 3.8);
    }
    let (svg, stdout) = plot(folder.path(), &["跑步", "مرحبا"]);
    assert!(texts(&svg).iter().any(|text| text == "跑步, training"));
    assert!(stdout.contains('跑') && stdout.contains('م') && stdout.contains("PNG"), "{stdout}");
    let (_, stdout) = plot(folder.path(), &["plain é Ω ж"]);
    assert!(!stdout.contains("boxes"), "{stdout}");
}

#[test]
fn a_table_without_sequence_lengths_keeps_an_earlier_plot_of_them_with_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let earlier = folder.path().join("perplexity_vs_bptt.svg");
    fs::write(&earlier, "earlier").unwrap();
    let out = folder.path().to_str().unwrap();
    let ran = reproduce(&["--rows", "300-1500-140", "--scale", "50", "--no-lengths", "--out", out]);
    ran.succeeds();
    assert!(ran.stdout.contains("perplexity_vs_bptt.svg is from an earlier run"), "{}", ran.stdout);
    assert_eq!(fs::read_to_string(&earlier).unwrap(), "earlier");
    assert!(!folder.path().join("perplexity_vs_bptt.png").exists());
    assert!(folder.path().join("perplexity_vs_parameters.png").is_file());
}
