//! The results at medium scale that the repository stores.

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
