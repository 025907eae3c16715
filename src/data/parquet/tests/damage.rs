//! Damaged and unsuitable tables: each is an error that names the file.

use std::path::Path;

use proptest::prelude::*;

use super::table::{OPTIONAL, SECOND, table_with_nulls};
use super::*;
use crate::command_line::exit_status;

/// Writes the file and reads it in both ways, which must agree; returns the error.
fn read(path: &Path, bytes: &[u8]) -> Result<Vec<u32>> {
    fs::write(path, bytes).unwrap();
    let paths = [path.to_path_buf()];
    let restored = restored(&paths);
    let read = tokenize(&paths, &mut Vocab::default(), 1);
    match (&restored, &read) {
        (Ok(text), Ok(ids)) => {
            // A text with many zero bytes is taken for binary data, and a table is not.
            if !text.contains(&0) {
                assert!(*ids == tokens_of_text(str::from_utf8(text).unwrap()).0);
            }
        }
        (Err(one), Err(other)) => {
            for error in [one, other] {
                assert_eq!(exit_status(error), 2, "{error}");
                assert!(error.to_string().contains("train.parquet"), "{error}");
            }
        }
        (Ok(_), Err(error)) => {
            let little =
                ["is empty", "blank lines"].iter().any(|text| error.to_string().contains(text));
            assert!(little, "{error}");
        }
        (Err(error), Ok(_)) => panic!("tokenized, but not restored: {error}"),
    }
    read
}

#[test]
fn every_truncation_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let whole = table(&rows_of(TEXT), &Layout::default());
    read(&path, &whole).unwrap();
    for length in 0..whole.len() {
        let error = read(&path, &whole[..length]).unwrap_err().to_string();
        let expected = match length {
            0 => "is empty",
            1..4 => "is not a Parquet table",
            4 => "is damaged",
            _ => "is truncated",
        };
        assert!(error.contains(expected) && error.contains("again"), "{length}: {error}");
    }
}

#[test]
fn unsuitable_tables_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let layout = |schema| Layout { schema, ..Layout::default() };
    let rows = rows_of(TEXT);
    let with_schema = |schema| table(&rows, &layout(schema));
    let mut with_null: Vec<_> = rows.iter().map(|row| Some(*row)).collect();
    with_null[4] = None;
    let mut not_utf8 = rows.clone();
    not_utf8[3] = b" caf\xe9 \n";
    let groups = |rows_per_group| Layout { rows_per_group, ..Layout::default() };
    for (bytes, problem) in [
        (with_schema("message m { required binary line (string); }"), "its columns are line"),
        (
            with_schema("message m { optional group text { optional binary a (string); } }"),
            "does not hold strings",
        ),
        (table_with_nulls(&with_null, &layout(OPTIONAL)), "row 5 of its column `text` is null"),
        (table_with_nulls(&with_null, &groups(2)), "row 5 of its column `text` is null"),
        (table(&not_utf8, &groups(3)), "row 4 of its column `text` is not UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n".to_vec(), "git lfs pull"),
        (b"<!DOCTYPE html><p>404".to_vec(), "an HTML page"),
        (b" a text \n".to_vec(), "is not a Parquet table"),
    ] {
        let error = read(&path, &bytes).unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains("what to do"), "{error}");
    }
}

/// A change to the bytes; offsets wrap around.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Word(usize, u32),
    /// Removes bytes.
    Cut(usize, usize),
    /// Inserts a copy of bytes elsewhere.
    Copy(usize, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let words = prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), Just(i32::MAX as u32)];
    prop_oneof![
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (any::<usize>(), words).prop_map(|(at, word)| Change::Word(at, word)),
        1 => any::<(usize, usize)>().prop_map(|(at, n)| Change::Cut(at, n)),
        1 => any::<(usize, usize, usize)>().prop_map(|(from, n, to)| Change::Copy(from, n, to)),
    ]
}

/// Changes the bytes between the magic numbers, so that most changes reach the crate.
fn apply(bytes: &mut Vec<u8>, change: Change) {
    let inner = 4..bytes.len().saturating_sub(4);
    let size = inner.len().max(1);
    let overwrite = |bytes: &mut Vec<u8>, at: usize, new: &[u8]| {
        for (target, byte) in bytes[inner.clone()].iter_mut().skip(at).zip(new) {
            *target = *byte;
        }
    };
    match change {
        Change::Set(at, byte) => overwrite(bytes, at % size, &[byte]),
        Change::Word(at, word) => overwrite(bytes, at % size, &word.to_le_bytes()),
        Change::Cut(at, n) => {
            let start = 4 + at % size;
            bytes.drain(start..(start + n % 20).min(inner.end));
        }
        Change::Copy(from, n, to) => {
            let copy: Vec<u8> =
                bytes[inner].iter().skip(from % size).take(n % 100).copied().collect();
            let to = 4 + to % size;
            bytes.splice(to..to, copy);
        }
    }
}

#[test]
fn damaged_tables_are_read_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let text = TEXT.repeat(3);
    let rows = rows_of(&text);
    let mut layouts = Layout::all();
    layouts.retain(|layout| layout.schema != SECOND);
    let tables: Vec<_> = layouts.iter().map(|layout| table(&rows, layout)).collect();
    let changes = prop::collection::vec(change(), 1..4);
    proptest!(ProptestConfig::with_cases(3000), |(which in 0..tables.len(), changes in changes)| {
        let mut bytes = tables[which].clone();
        changes.into_iter().for_each(|change| apply(&mut bytes, change));
        let _ = read(&path, &bytes);
    });
}
