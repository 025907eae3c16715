//! Tables that pyarrow writes of the real text.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::data::{Corpus, Split};

/// `cargo xtask test` runs it where the texts exist and `QRNN_PYARROW` names a Python with pyarrow.
#[test]
#[ignore = "needs wikitext-mini in QRNN_SHARED_DATA or ../shared/data, and a Python with pyarrow in QRNN_PYARROW"]
fn real_text_gives_the_same_ids_and_bytes_with_pyarrow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared =
        std::env::var_os("QRNN_SHARED_DATA").map_or(root.join("../shared/data"), PathBuf::from);
    let mini = shared.join("wikitext-mini");
    let python = std::env::var_os("QRNN_PYARROW").expect("QRNN_PYARROW is set");
    let folder = tempfile::tempdir().unwrap();
    let script = root.join("tests/parquet/make.py");
    let made = Command::new(python).arg(script).arg(&mini).arg(folder.path()).status().unwrap();
    assert!(made.success());
    let expected = Corpus::from_text(&mini).unwrap();
    let mut layouts = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let read = Corpus::from_text(&path).unwrap();
        assert!(read.vocab().iter().eq(expected.vocab().iter()), "{}", path.display());
        for split in Split::ALL {
            assert!(read.tokens(split) == expected.tokens(split), "{}", path.display());
            let tables = shards::files(&shards::folder(&path).unwrap(), split).unwrap();
            let text = restored(&tables).unwrap();
            assert!(
                text == fs::read(mini.join(format!("{split}.txt"))).unwrap(),
                "{}",
                path.display()
            );
        }
        layouts += 1;
    }
    assert!(layouts >= 8, "{layouts}");
}
