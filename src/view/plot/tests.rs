use super::chart::Series;
use super::*;
use crate::paper::compression::{CompressionResults, Stage};
use crate::paper::results::Measured;

fn point(emsize: usize, nhid: usize, bptt: usize, parameters: u64, test_ppl: f64) -> Measured {
    Measured { emsize, nhid, bptt, parameters, test_ppl, ..Measured::default() }
}

fn texts(svg: &str) -> Vec<&str> {
    let open = svg.split("<text").skip(1);
    open.filter_map(|rest| rest.split('>').nth(1)?.split('<').next()).map(str::trim).collect()
}

const NONE: [Measured; 0] = [];

#[test]
fn without_runs_only_the_published_points_are_shown_and_labeled() {
    let svg = perplexity_vs_parameters(&NONE).svg();
    let shown = texts(&svg);
    let mut expected = vec!["400/2500", "300/1500", "300/1750", "300/1850", "300/1800 (entry)"];
    expected.extend(["300/2000", "parameters (millions)", "test perplexity"]);
    for text in expected {
        assert!(shown.contains(&text), "{text} not in {shown:?}");
    }
    assert_eq!(shown.iter().filter(|text| **text == "300/2000").count(), 2);
    assert!(!shown.contains(&"Measured"));
}

#[test]
fn measured_points_have_a_separate_panel() {
    let runs = [point(25, 150, 70, 400_000, 80.0), point(25, 170, 70, 450_000, 75.5)];
    let plot = perplexity_vs_parameters(&runs).measured_on("one epoch").best_possible(70.0);
    let svg = plot.svg();
    let shown = texts(&svg);
    for text in ["Published", "Measured", "one epoch", "25/150", "25/170", "best possible, 70.0"] {
        assert!(shown.contains(&text), "{text} not in {shown:?}");
    }
    assert_eq!(shown.iter().filter(|text| **text == "test perplexity").count(), 2);
}

#[test]
fn an_svg_has_the_page_size_and_selectable_text() {
    let svg = perplexity_vs_bptt(&[point(25, 150, 70, 1, 80.0)]).svg();
    assert!(
        svg.starts_with("<svg width=\"900\" height=\"520\" role=\"img\" viewBox=\"0 0 900 520\"")
    );
    assert!(svg.contains("font-family=\"sans-serif\""));
    assert!(svg.trim_end().ends_with("</svg>"));
}

#[test]
fn degenerate_input_is_drawn() {
    let odd = [f64::NAN, f64::INFINITY, -0.0, 0.0, 1e300, 5.0, 5.0];
    let all: Vec<Measured> = odd.iter().map(|&ppl| point(1, 1, 1, u64::MAX, ppl)).collect();
    for points in [&all[..], &all[..1], &all[5..6], &all[5..]] {
        perplexity_vs_parameters(points).best_possible(f64::NAN).svg();
        perplexity_vs_bptt(points).best_possible(1e90).svg();
    }
    let curve = |points: &[(f64, f64)]| Curve { label: "<run & co>".into(), points: points.into() };
    let none: [Curve; 0] = [];
    training_curve(&none).svg();
    let curves =
        [curve(&[]), curve(&[(1.0, 2.0)]), curve(&[(0.0, f64::NAN), (f64::INFINITY, 1.0)])];
    let svg = training_curve(&curves).svg();
    assert!(svg.contains("&lt;run &amp; co&gt;"));
}

/// x of a text in an SVG, in page pixels: the right end of a tick, or the middle of a label.
fn x_of(svg: &str, wanted: &str) -> f64 {
    let document = roxmltree::Document::parse(svg).unwrap();
    let mut texts = document.descendants().filter(|node| node.has_tag_name("text"));
    let text = texts.find(|node| node.text().is_some_and(|text| text.trim() == wanted));
    text.unwrap().attribute("x").unwrap().parse().unwrap()
}

#[test]
fn wide_ticks_do_not_overlap_the_axis_label() {
    let runs = [point(25, 150, 70, 400_000, 100_000.0), point(25, 170, 70, 450_000, 140_000.0)];
    let svg = perplexity_vs_parameters(&runs).svg();
    let shown = texts(&svg);
    let tick = shown.iter().find(|text| text.ends_with(",000")).unwrap();
    let left = x_of(&svg, tick) - font::width(tick);
    // The label of the measured panel is the second with this text.
    let middle = svg.rfind("test perplexity").unwrap();
    let title = x_of(&format!("<svg>{}</svg>", element_around(&svg, middle)), "test perplexity");
    assert!(left > title + 8.0, "{left} {title}");
}

/// The text element around an offset.
fn element_around(svg: &str, at: usize) -> &str {
    let start = svg[..at].rfind("<text").unwrap();
    let end = at + svg[at..].find("</text>").unwrap() + "</text>".len();
    &svg[start..end]
}

#[test]
fn an_empty_panel_shows_the_reason() {
    let run = |ppl| point(25, 150, 70, 400_000, ppl);
    let shown_texts = |runs: &[Measured]| {
        let svg = perplexity_vs_parameters(runs).best_possible(30.0).svg();
        // Only the published panel has a legend.
        assert_eq!(svg.matches("sequence length (tokens)").count(), 1, "{svg}");
        texts(&svg).join("\n")
    };
    // Interrupted runs have no test perplexity.
    assert!(shown_texts(&[run(f64::NAN), run(f64::NAN)]).contains("not measured to the end"));
    assert!(
        shown_texts(&[run(f64::NAN), run(f64::INFINITY)])
            .contains("every value is infinite or NaN")
    );
    assert!(perplexity_vs_bptt(&[run(f64::NAN)]).svg().contains("not measured to the end"));
}

#[test]
fn a_line_is_interrupted_at_points_that_cannot_be_drawn() {
    let values = [1.0, f64::INFINITY, 2.0, 3.0, f64::NAN, 1e300, 4.0, f64::INFINITY];
    let series = Series::line("", values.into_iter().zip(1..).map(|(y, x)| (f64::from(x), y)));
    let heights = |segment: &[chart::PlotPoint]| segment.iter().map(|point| point.y).collect();
    let segments: Vec<Vec<f64>> = series.segments().map(heights).collect();
    assert_eq!(segments, [vec![1.0], vec![2.0, 3.0], vec![4.0]]);
}

#[test]
fn points_of_a_training_curve_that_are_not_drawn_are_counted() {
    let label = "run, training".to_owned();
    let curve = |ppls: &[f64]| Curve {
        label: label.clone(),
        points: ppls.iter().zip(1u32..).map(|(ppl, step)| (f64::from(step), *ppl)).collect(),
    };
    let shown = |curves: &[Curve]| texts(&training_curve(curves).svg()).join("\n");
    let all = shown(&[curve(&[50.0, 20.0, 10.0])]);
    assert!(all.contains(&label) && !all.contains("not shown"), "{all}");
    let part = shown(&[curve(&[4000.0, 61.0, 60.0, f64::INFINITY, 10.0]), curve(&[70.0, 5.0])]);
    let part = part.replace('\n', " ");
    let note = "Points not shown: 3 at the start of a curve, above 6 times its lowest perplexity; \
                1 too large to draw.";
    assert!(part.contains(note), "{part}");
}

#[test]
fn characters_that_the_png_lacks_are_reported() {
    let plot = perplexity_vs_bptt(&[point(25, 150, 70, 1, 80.0)]);
    assert_eq!(plot.missing_in_png(), None);
    let note = plot.measured_on("数据 🙂").missing_in_png().unwrap();
    assert!(note.contains("数据🙂"), "{note}");
}

#[test]
fn markup_in_labels_is_escaped() {
    let plot = perplexity_vs_bptt(&[point(1, 1, 5, 1, 9.0)]).measured_on("</text><script>");
    assert!(!plot.svg().contains("<script"));
}

#[test]
fn svg_and_png_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let paths = perplexity_vs_bptt(&NONE).save(folder.path(), "lengths").unwrap();
    assert!(std::fs::read_to_string(&paths[0]).unwrap().contains("</svg>"));
    let png = std::fs::read(&paths[1]).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    // The width and height are at byte 16 of the header, big-endian.
    assert_eq!(png[16..24], [0, 0, 7, 8, 0, 0, 4, 16]);
}

fn stage(name: &str, score: f64, test_ppl: f64) -> Stage {
    Stage {
        name: name.into(),
        valid_ppl: test_ppl,
        test_ppl,
        parameters_32: 1.0,
        operations: 1.0,
        score,
        bytes: 4,
        tokens_per_second: 1.0,
    }
}

/// The stages of a model whose scores are these times those of a small one.
fn compression(name: &str, factor: f64) -> CompressionResults {
    let stages = [
        ("adaptive", 0.002, 61.4),
        ("pruned", 0.00096, 44.0),
        ("quantized", 0.00074, 44.1),
        ("cached", 0.00082, 40.4),
    ];
    CompressionResults {
        name: name.into(),
        corpus: None,
        stages: stages.map(|(name, score, ppl)| stage(name, score * factor, ppl)).into(),
        tensors: vec![],
        cache: None,
        file_bytes: 0,
        counted_bits: 0,
        interrupted: false,
    }
}

#[test]
fn the_stages_of_a_compression_are_labeled_and_published_scores_have_no_perplexity_axis() {
    let plot = perplexity_vs_score(compression("small", 1.0));
    let svg = plot.measured_on("the embedded language").best_possible(13.5).svg();
    let shown = texts(&svg);
    let mut expected = vec!["adaptive", "pruned", "quantized", "cached", "MicroNet score"];
    expected.extend([
        "the embedded language",
        "best possible, 13.5",
        "JNLP 0.8232, perplexity 34.71",
    ]);
    expected.extend(["MIT-HAN-Lab 0.0475 to 0.0485", "MIT-HAN-Lab (paper of 2020) 0.0387"]);
    for text in expected {
        assert!(shown.contains(&text), "{text} not in {shown:?}");
    }
    assert_eq!(shown.iter().filter(|text| **text == "test perplexity").count(), 1);
    // One run needs no legend.
    assert!(!shown.contains(&"small"));
}

#[test]
fn several_compressions_have_a_legend() {
    let runs = [compression("light", 1.0), compression("", 1.5)];
    let svg = perplexity_vs_score(&runs).svg();
    let shown = texts(&svg);
    assert!(shown.contains(&"light") && shown.contains(&"run 2"), "{shown:?}");
    assert_eq!(shown.iter().filter(|text| **text == "cached").count(), 2);
}

#[test]
fn published_scores_share_the_axis_of_models_that_reach_them() {
    let ticks = |factor: f64| {
        let svg = perplexity_vs_score([compression("", factor)]).svg();
        texts(&svg).into_iter().filter(|text| *text == "0.1").count()
    };
    // Far below, only the strip has the tick; at full size the panel has it as well.
    assert_eq!(ticks(1.0), 1);
    assert_eq!(ticks(100.0), 2);
}

#[test]
fn a_compression_without_a_stage_is_drawn() {
    let mut run = compression("", 1.0);
    run.stages[1].test_ppl = f64::NAN;
    assert!(texts(&perplexity_vs_score(&run).svg()).contains(&"cached"));
    run.stages.clear();
    let svg = perplexity_vs_score(&run).svg();
    assert!(texts(&svg).contains(&"nothing measured yet") && svg.contains("JNLP"));
    let none: [CompressionResults; 0] = [];
    perplexity_vs_score(none).svg();
    run.stages = vec![stage("dense", 0.0, 4.0)];
    perplexity_vs_score(run).svg();
}
