use super::*;

fn point(emsize: usize, nhid: usize, bptt: usize, parameters: u64, perplexity: f64) -> Point {
    Point { emsize, nhid, bptt, parameters, perplexity }
}

fn texts(svg: &str) -> Vec<&str> {
    let open = svg.split("<text").skip(1);
    open.filter_map(|rest| rest.split('>').nth(1)?.split('<').next()).map(str::trim).collect()
}

const NONE: [Point; 0] = [];

#[test]
fn every_published_point_is_named_and_alone_without_runs() {
    let svg = perplexity_vs_parameters(&NONE).svg().unwrap();
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
fn measured_points_stand_on_axes_of_their_own() {
    let runs = [point(25, 150, 70, 400_000, 80.0), point(25, 170, 70, 450_000, 75.5)];
    let plot = perplexity_vs_parameters(&runs).measured_on("one epoch").best_possible(70.0);
    let svg = plot.svg().unwrap();
    let shown = texts(&svg);
    for text in ["Published", "Measured", "one epoch", "25/150", "25/170", "best possible, 70.0"] {
        assert!(shown.contains(&text), "{text} not in {shown:?}");
    }
    assert_eq!(shown.iter().filter(|text| **text == "test perplexity").count(), 2);
}

#[test]
fn svg_text_is_text_of_the_page_size() {
    let svg = perplexity_vs_bptt(&[point(25, 150, 70, 1, 80.0)]).svg().unwrap();
    assert!(
        svg.starts_with("<svg width=\"900\" height=\"520\" role=\"img\" viewBox=\"0 0 3600 2080\"")
    );
    assert!(svg.contains("font-family=\"sans-serif\""));
    assert!(svg.trim_end().ends_with("</svg>"));
}

#[test]
fn degenerate_input_is_drawn_all_the_same() {
    let odd = [f64::NAN, f64::INFINITY, -0.0, 0.0, 1e300, 5.0, 5.0];
    let all: Vec<Point> = odd.iter().map(|&ppl| point(1, 1, 1, u64::MAX, ppl)).collect();
    for points in [&all[..], &all[..1], &all[5..6], &all[5..]] {
        perplexity_vs_parameters(points).best_possible(f64::NAN).svg().unwrap();
        perplexity_vs_bptt(points).best_possible(1e90).svg().unwrap();
    }
    let curve = |points: &[(f64, f64)]| Curve { label: "<run & co>".into(), points: points.into() };
    let none: [Curve; 0] = [];
    training_curve(&none).svg().unwrap();
    let curves =
        [curve(&[]), curve(&[(1.0, 2.0)]), curve(&[(0.0, f64::NAN), (f64::INFINITY, 1.0)])];
    let svg = training_curve(&curves).svg().unwrap();
    assert!(svg.contains("&lt;run &amp; co&gt;"));
}

#[test]
fn hostile_labels_stay_inside_the_text() {
    let plot = perplexity_vs_bptt(&[point(1, 1, 5, 1, 9.0)]).measured_on("</text><script>");
    assert!(!plot.svg().unwrap().contains("<script"));
}

#[test]
fn both_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let paths = perplexity_vs_bptt(&NONE).save(folder.path(), "lengths").unwrap();
    assert!(std::fs::read_to_string(&paths[0]).unwrap().contains("</svg>"));
    let png = std::fs::read(&paths[1]).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    // Width and height stand big-endian at byte 16 of the header.
    assert_eq!(png[16..24], [0, 0, 7, 8, 0, 0, 4, 16]);
}
