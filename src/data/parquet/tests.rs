//! Tables of every kind, damaged tables, and folders of them.

mod damage;
mod folders;
mod real;
mod table;

use std::fs;

use super::*;
use table::{Layout, rows_of, table};

const TEXT: &str =
    " \n = Title = \n \n the cat sat é \n on the mat \n \n \n = = Part = = \n the end \n";

/// The ids and words of a text.
fn tokens_of_text(text: &str) -> (Vec<u32>, Vocab) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    fs::write(&path, text).unwrap();
    let mut vocab = Vocab::default();
    (reader::text(&path, &mut vocab, 1).unwrap(), vocab)
}

/// The restored text.
fn restored(paths: &[PathBuf]) -> Result<Vec<u8>> {
    let mut text = vec![];
    let append = |block: &[u8]| {
        text.extend_from_slice(block);
        Ok::<_, Error>(())
    };
    restore(paths, append)?;
    Ok(text)
}

#[test]
fn tables_of_every_layout_give_the_ids_and_bytes_of_the_text() {
    let text = TEXT.repeat(40);
    let (ids, words) = tokens_of_text(&text);
    let rows = rows_of(&text);
    let folder = tempfile::tempdir().unwrap();
    for layout in Layout::all() {
        // Uneven files; a file may be empty.
        let cuts = [0, 100, 100, 250, rows.len()];
        let mut paths = vec![];
        for (shard, cut) in cuts.windows(2).enumerate() {
            let path = folder.path().join(format!("{shard}"));
            fs::write(&path, table(&rows[cut[0]..cut[1]], &layout)).unwrap();
            paths.push(path);
        }
        let mut vocab = Vocab::default();
        let read = tokenize(&paths, &mut vocab, 2).unwrap_or_else(|e| panic!("{layout:?}: {e}"));
        assert!(read == ids && vocab.iter().eq(words.iter()), "{layout:?}");
        assert!(restored(&paths).unwrap() == text.as_bytes(), "{layout:?}");
    }
}

/// Row groups are shared out to threads, and their words merged in the order of the text.
#[test]
fn long_tables_are_read_in_parts() {
    let line = |n: usize| format!(" word{} word{} the {} \n", n % 977, n / 3, "long ".repeat(40));
    let text: String = (0..20_000).map(line).collect();
    let rows = rows_of(&text);
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout { rows_per_group: 900, ..Layout::default() };
    let paths = [0, 1].map(|shard| folder.path().join(format!("{shard}")));
    fs::write(&paths[0], table(&rows[..12_345], &layout)).unwrap();
    fs::write(&paths[1], table(&rows[12_345..], &layout)).unwrap();
    let files = open(&paths).unwrap();
    for threads in 1..5 {
        let parts = segments::split(&files, threads);
        assert_eq!(parts.len() as u64, threads);
        let segments = in_threads(parts, |part| segments::tokenize(part));
        let segments = segments.into_iter().collect::<Result<_>>().unwrap();
        let mut vocab = Vocab::default();
        let ids = reader::join(&paths[0], segments, &mut vocab, 2).unwrap();
        let (expected, words) = tokens_of_text(&text);
        assert!(ids == expected && vocab.iter().eq(words.iter()), "{threads}");
    }
}

#[test]
fn too_little_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train");
    for (rows, problem) in [
        (&[][..], "is empty"),
        (&["", "", ""], "has only blank lines"),
        (&[" a \n"], "is the only line"),
    ] {
        let rows: Vec<_> = rows.iter().map(|row| row.as_bytes()).collect();
        fs::write(&path, table(&rows, &Layout::default())).unwrap();
        let error = tokenize(std::slice::from_ref(&path), &mut Vocab::default(), 2).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
}
