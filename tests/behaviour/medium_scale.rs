//! The results at medium scale that the repository stores, and what the README says about them.

use std::path::{Path, PathBuf};

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
    let out = tempfile::tempdir().unwrap();
    let folders =
        [stored(), out.path().into()].map(|path| path.into_os_string().into_string().unwrap());
    reproduce(&["report", &folders[0], "--out", &folders[1]]).succeeds();
    let [stored, gathered] = [&stored(), out.path()].map(results);
    for field in ["scale", "corpus", "seeds", "missing", "differences"] {
        assert_eq!(stored[field], gathered[field], "{field}");
    }
    for (table, models) in [("rows", 7), ("lengths", 8)] {
        assert_eq!(stored[table].as_array().unwrap().len(), models);
        for (stored, gathered) in
            stored[table].as_array().unwrap().iter().zip(gathered[table].as_array().unwrap())
        {
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
