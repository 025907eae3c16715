//! The plot of `reproduce compress`, and the report of its folder.

use std::fs;

use crate::program::reproduce;

#[test]
fn the_folder_of_a_compressed_model_has_a_plot_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (dense, small, other) = (path("dense"), path("small"), path("other"));
    let mut train = vec!["train", "--out", &dense, "--emsize", "8", "--nhid", "12"];
    train.extend(["--nlayers", "2", "--bptt", "20", "--batch-size", "10", "--steps", "5"]);
    reproduce(&train).succeeds();
    let mut compress = vec!["compress", "--checkpoint", &dense, "--out", &small, "--one-shot"];
    compress.extend(["--zeros", "rnns=0.5"]);
    reproduce(&compress).succeeds();
    let svg = fs::read_to_string(folder.path().join("small/perplexity_vs_score.svg")).unwrap();
    for text in ["dense", "pruned", "quantized", "synthetic", "Published scores"] {
        assert!(svg.contains(text), "{text}");
    }
    assert!(folder.path().join("small/perplexity_vs_score.png").exists());

    let json = reproduce(&["report", &small, "--json"]).json();
    assert_eq!(json["compressions"][0]["name"], "small");
    let page = fs::read_to_string(folder.path().join("small/report.html")).unwrap();
    assert!(page.contains("Compression: small") && page.contains("<svg"));
    // There is no results.json of a table.
    assert!(!folder.path().join("small/results.json").exists());
    let ran = reproduce(&["report", &small, "--out", &other]);
    ran.succeeds();
    assert!(ran.stdout.contains("quantized") && ran.stdout.contains("open "), "{}", ran.stdout);
    assert!(folder.path().join("other/report.html").exists());

    // A training run that was interrupted has nothing to report, and no results of a table.
    let results = folder.path().join("dense/results.json");
    let text = fs::read_to_string(&results).unwrap();
    let interrupted = text.replace("\"interrupted\": false", "\"interrupted\": true");
    assert_ne!(interrupted, text);
    fs::write(&results, interrupted).unwrap();
    let ran = reproduce(&["report", &dense, "--out", &other]);
    ran.is_refused("an interrupted run");
    assert!(ran.stderr.contains("has no finished run"), "{}", ran.stderr);
}
