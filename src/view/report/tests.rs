use std::path::Path;

use super::Report;
use super::comparison::INTERRUPTED;
use crate::compress::TensorReport;
use crate::paper;
use crate::paper::compression::{CompressionResults, Stage};
use crate::paper::results::{
    Corpus, FORMAT, LengthResult, Machine, Measured, OpTables, ParameterCount, ReproduceResults,
    RowResult, Scale,
};

fn run(emsize: usize, nhid: usize, bptt: usize, test_ppl: f64) -> Measured {
    Measured {
        emsize,
        nhid,
        bptt,
        batch: 20,
        epochs: 1,
        tokens: 400_000,
        steps: 571,
        parameters: 1_612_000,
        valid_loss: (test_ppl * 1.02).ln(),
        test_loss: test_ppl.ln(),
        valid_ppl: test_ppl * 1.02,
        test_ppl,
        seconds: 4.25,
        ..Measured::default()
    }
}

fn results() -> ReproduceResults {
    let rows = paper::ROWS.iter().map(|row| {
        let paper::PublishedRow { emsize, nhid, bptt, .. } = row.published;
        let measured = Some(run(emsize / 4, nhid / 4, bptt / 4, 74.5));
        RowResult { name: row.name.into(), published: row.published, measured }
    });
    let mut rows: Vec<_> = rows.collect();
    rows[1].measured = None;
    let lengths = paper::LENGTHS.map(|published| {
        let measured = Some(run(75, 437, published.bptt / 4, 76.0));
        LengthResult { published, measured }
    });
    ReproduceResults {
        format: FORMAT,
        version: "0.1.0".into(),
        commit: Some("bc3bf2c".into()),
        command: "cargo xtask reproduce --out 'a <b> & c'".into(),
        started: "2026-11-24 09:02:41 UTC".into(),
        seconds: 88.0,
        seed: 1,
        seeds: vec![1],
        interrupted: false,
        scale: Scale {
            name: "reduced scale".into(),
            note: "widths ÷ 4".into(),
            recipe: "the paper's".into(),
            full: false,
            width_divisor: Some(4.0),
            embedding_divisor: None,
            length_divisor: Some(4.0),
        },
        corpus: Corpus {
            name: "<script>alert(1)</script>".into(),
            words: 5_000,
            train_tokens: 400_000,
            valid_tokens: 20_000,
            test_tokens: 20_000,
            best_test_ppl: Some(52.3),
            unigram_test_ppl: 1_234.5,
            checksums: vec![],
        },
        machine: Machine::here("CPU"),
        op_table: OpTables::of_entry(),
        parameter_counts: ParameterCount::of_rows(&paper::ROWS),
        rows,
        lengths: lengths.into(),
        differences: vec![],
        missing: vec![],
        origins: vec![],
    }
}

#[test]
fn the_json_reads_back_and_has_its_keys() {
    let mut results = results();
    let json = results.to_json().unwrap();
    assert_eq!(serde_json::from_str::<ReproduceResults>(&json).unwrap(), results);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["rows"][0]["published"]["test_ppl"], 32.58);
    assert_eq!(value["rows"][6]["measured"]["test_ppl"], 74.5);
    assert_eq!(value["lengths"][0]["published"]["ppl"], 38.0);
    assert_eq!(value["op_table"]["counted"]["parameters"], 104_905_335);
    assert!(value["rows"][1]["measured"].is_null());

    let mut reread = |measured: Measured| {
        results.rows[0].measured = Some(measured);
        let back: ReproduceResults = serde_json::from_str(&results.to_json().unwrap()).unwrap();
        back.rows[0].measured.clone().unwrap()
    };
    // A loss whose perplexity overflows, an infinite loss, and an interrupted run without a test.
    let measured = run(30, 180, 20, 74.5);
    for loss in [5000.0, f64::INFINITY] {
        let diverged = Measured { test_loss: loss, test_ppl: f64::INFINITY, ..measured.clone() };
        assert_eq!(reread(diverged.clone()), diverged);
    }
    let (test_loss, test_ppl) = (f64::NAN, f64::NAN);
    let interrupted =
        reread(Measured { test_loss, test_ppl, interrupted: true, ..measured.clone() });
    assert!(interrupted.test_ppl.is_nan() && interrupted.test_loss.is_nan());
    assert_eq!(interrupted.valid_ppl, measured.valid_ppl);
}

#[test]
fn missing_losses_of_older_files_are_computed() {
    let mut value = serde_json::to_value(results()).unwrap();
    let measured = value["rows"][0]["measured"].as_object_mut().unwrap();
    measured.remove("test_loss");
    measured.remove("valid_loss");
    measured["valid_ppl"] = serde_json::Value::Null;
    let back: ReproduceResults = serde_json::from_value(value).unwrap();
    let measured = back.rows[0].measured.as_ref().unwrap();
    assert_eq!((measured.test_ppl, measured.test_loss), (74.5, 74.5f64.ln()));
    assert_eq!(measured.valid_ppl, f64::INFINITY);
    assert!(back.to_text().contains(" inf "), "{}", back.to_text());
}

#[test]
fn every_parameter_count_equals_the_published_one() {
    let counts = ParameterCount::of_rows(&paper::ROWS);
    assert_eq!(counts.len(), 7);
    assert!(counts.iter().all(|count| count.counted == count.published));
}

#[test]
fn the_page_is_self_contained_and_escapes_texts() {
    let html = results().to_html();
    assert!(!html.contains("<script"));
    assert!(html.contains("&lt;script&gt;") && html.contains("a &lt;b&gt; &amp; c"));
    for external in ["src=", "<link", "@import", "url("] {
        assert!(!html.contains(external), "{external}");
    }
    for expected in ["153,886,638", "120.347", "not run", "74.50", "32.58", "52.30", "<svg", "(60)"]
    {
        assert!(html.contains(expected), "{expected}");
    }
    assert_eq!(html.matches("<svg").count(), 2);
}

#[test]
fn the_text_has_published_numbers_on_the_left_and_measured_ones_on_the_right() {
    let text = results().to_text();
    let entry = text.lines().find(|line| line.starts_with("300-1800-300")).unwrap();
    let (published, measured) = entry.split_once('|').unwrap();
    assert!(published.contains("34.71") && !measured.contains("34.71"));
    assert!(measured.contains("74.50") && !published.contains("74.50"));
    let bars: Vec<_> = text.lines().skip(1).take(8).map(|line| line.find('|')).collect();
    assert!(bars.iter().all(|bar| *bar == bars[0]), "{text}");
    assert!(!text.contains(INTERRUPTED));

    let mut results = results();
    results.rows[6].measured.as_mut().unwrap().interrupted = true;
    let text = results.to_text();
    assert!(text.contains(" 74.50* ") && text.contains(INTERRUPTED), "{text}");
}

#[test]
fn a_run_without_measurements_has_a_report() {
    let mut results = results();
    results.rows.iter_mut().for_each(|row| row.measured = None);
    results.lengths.clear();
    results.corpus.best_test_ppl = None;
    (results.interrupted, results.missing) = (true, vec!["75-500-35-s1".into()]);
    let (page, text) = (results.to_html(), results.to_text());
    let missing = "Interrupted: the run 75-500-35-s1 is missing.";
    assert!(page.contains(missing) && !page.contains("Sequence length") && !page.contains("<svg"));
    assert!(text.contains(missing) && text.contains("not run") && !text.contains("\nbptt"));
    results.rows.clear();
    assert!(!results.to_text().contains("params"));
}

#[test]
fn all_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    results().save(folder.path()).unwrap();
    let expected = [
        "perplexity_vs_bptt.png",
        "perplexity_vs_bptt.svg",
        "perplexity_vs_parameters.png",
        "perplexity_vs_parameters.svg",
        "report.html",
        "results.json",
    ];
    assert_eq!(file_names(folder.path()), expected);
}

#[test]
fn a_plot_without_a_measured_perplexity_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut results = results();
    for length in &mut results.lengths[1..] {
        length.measured = None;
    }
    let first = results.lengths[0].measured.as_mut().unwrap();
    (first.test_loss, first.test_ppl, first.interrupted) = (f64::NAN, f64::NAN, true);
    results.save(folder.path()).unwrap();
    let expected = [
        "perplexity_vs_parameters.png",
        "perplexity_vs_parameters.svg",
        "report.html",
        "results.json",
    ];
    assert_eq!(file_names(folder.path()), expected);
    let page = results.to_html();
    assert_eq!(page.matches("<svg").count(), 1);
}

fn compression(name: &str) -> CompressionResults {
    let stage = |name: &str, score: f64, test_ppl: f64| Stage {
        name: name.into(),
        valid_ppl: test_ppl,
        test_ppl,
        parameters_32: 1.0,
        operations: 2e6,
        score,
        bytes: 4,
        tokens_per_second: 1.0,
    };
    CompressionResults {
        name: name.into(),
        corpus: Some(results().corpus),
        stages: vec![stage("dense", 0.02, 87.65), stage("quantized", 0.01, 87.71)],
        tensors: vec![TensorReport {
            name: "encoder.weight".into(),
            shape: vec![5_000, 8],
            nonzeros: 30_000,
            bits: 8,
            scales: 1,
            stored_bits: 280_032,
            score: Some(0.004),
        }],
        cache: None,
        file_bytes: 36_000,
        counted_bits: 280_032,
        interrupted: false,
    }
}

#[test]
fn compressed_models_have_a_report_without_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let folders = ["a", "<b>"].map(|name| folder.path().join(name));
    for folder in &folders {
        std::fs::create_dir(folder).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        compression(name).write(folder).unwrap();
    }
    assert_eq!(Report::folder_among(&folders), Some(&folders[0]));
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let report = Report::read(&folders, &out, "reproduce report").unwrap();
    report.save(&out).unwrap();
    let expected = ["perplexity_vs_score.png", "perplexity_vs_score.svg", "report.html"];
    assert_eq!(file_names(&out), expected);
    let mut written = report.files(&out);
    written.sort();
    assert_eq!(written, expected.map(|name| out.join(name)));
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    // 25 % of its weights are zeros, and it makes 0.004 of 0.01 of the score.
    let texts =
        ["Compression: a", "Compression: &lt;b&gt;", "87.65", "5000 × 8", "25.0 %", "40.0 %"];
    for text in texts {
        assert!(page.contains(text), "{text}");
    }
    // A plot of each, and one of both.
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(!page.contains("<script"));
    assert!(report.to_text().contains("quantized"));
    assert_eq!(report.to_json()["compressions"][1]["name"], "<b>");
}

#[test]
fn a_compressed_model_follows_the_tables_of_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    compression("small").write(&small).unwrap();
    let mut report = Report::read(&[small.clone(), small], folder.path(), "").unwrap();
    assert_eq!(report.compressions.len(), 1);
    report.results = Some(results());
    let page = report.to_html();
    assert!(page.contains("Compression: small") && page.contains("Experiment table"));
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(report.to_json()["compressions"].is_array() && report.to_json()["rows"].is_array());
    assert!(report.files("x").contains(&Path::new("x/results.json").into()));
}

fn file_names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
