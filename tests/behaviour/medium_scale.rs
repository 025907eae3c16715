//! The results at medium scale that the repository stores, and what the README says about them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::program::reproduce;

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/medium")
}

fn results(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("results.json")).unwrap()).unwrap()
}

#[test]
fn the_stored_runs_give_the_stored_results() {
    // The runs alone, without what says which rows and lengths they belong to.
    let copy = tempfile::tempdir().unwrap();
    for run in std::fs::read_dir(stored().join("runs")).unwrap() {
        let (from, name) = run.map(|run| (run.path(), run.file_name())).unwrap();
        let to = copy.path().join("runs").join(name);
        std::fs::create_dir_all(&to).unwrap();
        for file in ["config.json", "metrics.jsonl", "results.json"] {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
    reproduce(&["report", copy.path().to_str().unwrap()]).succeeds();
    let [stored, gathered] = [&stored(), copy.path()].map(results);
    for field in ["scale", "corpus", "seeds", "missing", "differences"] {
        assert_eq!(stored[field], gathered[field], "{field}");
    }
    for (table, models) in [("rows", 7), ("lengths", 8)] {
        assert_eq!(stored[table].as_array().unwrap().len(), models);
        for (stored, gathered) in
            stored[table].as_array().unwrap().iter().zip(gathered[table].as_array().unwrap())
        {
            assert!(stored["measured"]["test_ppl"].is_number());
            for field in ["test_ppl", "test_ppl_deviation", "steps", "parameters"] {
                assert_eq!(stored["measured"][field], gathered["measured"][field], "{field}");
            }
        }
    }
}

/// The mean and the 95 % interval of the perplexity of `second` minus that of `first`.
fn difference(results: &Value, first: &str, second: &str) -> (f64, [f64; 2]) {
    let found = results["differences"]
        .as_array()
        .unwrap()
        .iter()
        .find(|difference| difference["first"] == first && difference["second"] == second);
    let found = found.unwrap_or_else(|| panic!("{first} and {second} are not compared"));
    let number = |value: &Value| value.as_f64().unwrap();
    (number(&found["mean"]), [number(&found["interval"][0]), number(&found["interval"][1])])
}

#[test]
fn widths_have_the_published_order() {
    let results = results(&stored());
    for [narrow, wide] in [
        ["300-2000-140", "400-2500-140"],
        ["300-1750-140", "300-2000-140"],
        ["300-1500-140", "300-1750-140"],
        ["300-1850-200", "300-2000-200"],
    ] {
        let (mean, interval) = difference(&results, wide, narrow);
        assert!(interval[0] > 0.0, "{wide} to {narrow}: {mean} {interval:?}");
    }
}

#[test]
fn perplexity_falls_with_the_length_and_then_stays() {
    let results = results(&stored());
    let (fall, interval) = difference(&results, "50", "140");
    assert!(interval[1] < 0.0, "50 to 140: {fall} {interval:?}");
    let (rest, _) = difference(&results, "140", "200");
    assert!(rest.abs() < fall.abs() / 4.0, "140 to 200: {rest}, 50 to 140: {fall}");
}

/// The text of the stored results is made by a script, here from a package with 200 small documents.
#[test]
fn the_script_makes_a_corpus_of_a_package() {
    let folder = tempfile::tempdir().unwrap();
    let documents = folder.path().join("package/usr/share/doc/linux-doc/Documentation/net");
    std::fs::create_dir_all(&documents).unwrap();
    for document in 0..200 {
        let text = format!(
            "Heading\n=======\n\nThe driver number {document} reads a word,\nand the kernel reads it.\n"
        );
        std::fs::write(documents.join(format!("{document}.rst")), text).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/experiments/linux_docs.py");
    let corpus = folder.path().join("corpus");
    let made = Command::new("python3")
        .args([&script, &folder.path().join("package"), &corpus])
        .args(["--words", "13"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let text = |part: &str| std::fs::read_to_string(corpus.join(part)).unwrap();
    let lines = [text("train.txt"), text("valid.txt"), text("test.txt")].concat();
    assert_eq!(lines.lines().count(), 200, "headings are no prose");
    for line in lines.lines() {
        let digits = line.strip_prefix("The driver number ").unwrap();
        let digits = digits.strip_suffix(" reads a word , and the kernel reads it .").unwrap();
        assert!(digits.split(' ').all(|digit| digit == "<unk>"), "{line}");
    }
    let stats = reproduce(&["data", "stats", "--data", corpus.to_str().unwrap(), "--json"]).json();
    assert_eq!(stats["vocab"], 14, "{stats}");
}
