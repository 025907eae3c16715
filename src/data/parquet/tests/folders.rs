//! Folders with tables, as a corpus.

use std::path::Path;

use super::*;
use crate::data::{Corpus, Origin, Split};

const TEXTS: [&str; 3] = [TEXT, " \n valid text \n \n", " \n = Test = \n a test \n"];

fn write_texts(folder: &Path) {
    for (split, text) in Split::ALL.into_iter().zip(TEXTS) {
        fs::write(folder.join(format!("{split}.txt")), text).unwrap();
    }
}

/// The training text in two files, and the others in one each.
fn write_tables(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let write = |name: &str, rows: &[&[u8]]| {
        fs::write(folder.join(name), table(rows, &Layout::default())).unwrap();
    };
    let [train, valid, test] = TEXTS.map(rows_of);
    write("train-00000-of-00002.parquet", &train[..4]);
    write("train-00001-of-00002.parquet", &train[4..]);
    write("validation-00000-of-00001.parquet", &valid);
    write("test-00000-of-00001.parquet", &test);
}

fn assert_equal(one: &Corpus, other: &Corpus) {
    assert!(one.vocab().iter().eq(other.vocab().iter()));
    for split in Split::ALL {
        assert_eq!(one.tokens(split), other.tokens(split));
        assert_eq!(one.checksum(split), other.checksum(split));
    }
}

#[test]
fn a_folder_of_tables_is_the_corpus_of_its_texts() {
    let texts = tempfile::tempdir().unwrap();
    write_texts(texts.path());
    let expected = Corpus::from_text(texts.path()).unwrap();
    for inner in [".", "wikitext-103-v1"] {
        let folder = tempfile::tempdir().unwrap();
        write_tables(&folder.path().join(inner));
        assert_equal(&Corpus::from_text(folder.path()).unwrap(), &expected);
        let new = Corpus::from_dir(folder.path()).unwrap();
        assert!(matches!(new.origin(), Origin::NewCache(_)), "{:?}", new.origin());
        let cached = Corpus::wikitext103(folder.path()).unwrap();
        assert!(matches!(cached.origin(), Origin::Cache(_)), "{:?}", cached.origin());
        assert_equal(&new, &expected);
        assert_equal(&cached, &expected);
    }
}

#[test]
fn the_cache_covers_every_file() {
    let folder = tempfile::tempdir().unwrap();
    write_tables(folder.path());
    let first = Corpus::from_dir(folder.path()).unwrap();
    let path = |name: &str| folder.path().join(name);
    let rows = rows_of(TEXT);
    // Another second half of the training text,
    fs::write(path("train-00001-of-00002.parquet"), table(&rows[5..], &Layout::default())).unwrap();
    let changed = Corpus::from_dir(folder.path()).unwrap();
    assert!(matches!(changed.origin(), Origin::NewCache(_)));
    assert!(changed.tokens(Split::Train).len() < first.tokens(Split::Train).len());
    // and the same files, of which one now belongs to another split.
    fs::rename(path("train-00000-of-00002.parquet"), path("train-00000-of-00001.parquet")).unwrap();
    fs::rename(
        path("validation-00000-of-00001.parquet"),
        path("validation-00001-of-00002.parquet"),
    )
    .unwrap();
    fs::rename(path("train-00001-of-00002.parquet"), path("validation-00000-of-00002.parquet"))
        .unwrap();
    let moved = Corpus::from_dir(folder.path()).unwrap();
    assert!(matches!(moved.origin(), Origin::NewCache(_)));
    assert!(moved.tokens(Split::Train).len() < changed.tokens(Split::Train).len());
}

#[test]
fn texts_take_precedence() {
    let folder = tempfile::tempdir().unwrap();
    write_tables(folder.path());
    fs::write(folder.path().join("train.txt"), "a\nb\n").unwrap();
    let error = Corpus::from_text(folder.path()).unwrap_err().to_string();
    assert!(error.contains("has no valid split"), "{error}");
    for split in ["valid", "test"] {
        fs::write(folder.path().join(format!("{split}.txt")), "a\nb\n").unwrap();
    }
    assert_eq!(Corpus::from_text(folder.path()).unwrap().vocab().len(), 3);
    // Those in the subfolder that `data fetch` leaves too.
    let folder = tempfile::tempdir().unwrap();
    write_tables(folder.path());
    let inner = folder.path().join("wikitext-103");
    fs::create_dir(&inner).unwrap();
    write_texts(&inner);
    assert_eq!(Corpus::wikitext103(folder.path()).unwrap().name(), "wikitext-103");
}

#[test]
fn missing_files_are_named() {
    for (missing, problem) in [
        ("train-00000-of-00002.parquet", "has no train-00000-of-00002.parquet"),
        ("train-00001-of-00002.parquet", "has no train-00001-of-00002.parquet"),
        ("validation-00000-of-00001.parquet", "none of the valid split"),
        ("test-00000-of-00001.parquet", "none of the test split"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write_tables(folder.path());
        fs::remove_file(folder.path().join(missing)).unwrap();
        let error = Corpus::from_dir(folder.path()).unwrap_err();
        assert_eq!(crate::command_line::exit_status(&error), 2);
        assert!(error.to_string().contains(problem), "{error}");
    }
}
