//! The files of a split, by their names: `train-00000-of-00002.parquet`.

use std::path::{Path, PathBuf};

use crate::data::split::Split;
use crate::{Error, Result};

/// The folder of Hugging Face's repository that holds the files of WikiText-103.
const FOLDER: &str = "wikitext-103-v1";

/// The end of the names of Parquet files.
pub(in crate::data) const EXTENSION: &str = ".parquet";

/// The folder with Parquet files of a split: `folder` itself or `wikitext-103-v1` in it.
pub(in crate::data) fn folder(folder: &Path) -> Option<PathBuf> {
    [folder.to_path_buf(), folder.join(FOLDER)]
        .into_iter()
        .find(|folder| Split::ALL.iter().any(|split| !names(folder, *split).is_empty()))
}

/// The files of a split in the order of their numbers; empty if there are none.
///
/// # Errors
/// [`Error::BadFile`] if a file is missing or superfluous, or if a name has no number.
pub(in crate::data) fn files(folder: &Path, split: Split) -> Result<Vec<PathBuf>> {
    let mut shards = vec![];
    let prefix = prefix(split);
    for name in names(folder, split) {
        let Some((number, count)) = number(&name, &prefix) else {
            return Err(Error::bad_file(
                folder.join(&name),
                "its name does not say which part of the text it holds",
                format!(
                    "name it {prefix}00000-of-00001{EXTENSION} if it is the only one, or move it away"
                ),
            ));
        };
        shards.push((count, number, name));
    }
    shards.sort();
    let Some((count, _, first)) = shards.first().cloned() else { return Ok(vec![]) };
    if let Some((_, _, other)) = shards.iter().find(|(other, ..)| *other != count) {
        return Err(Error::bad_file(
            folder,
            format!("has files of two sets: {first} and {other}"),
            "keep one set of files for each split",
        ));
    }
    for (expected, (_, number, name)) in (0..).zip(&shards) {
        if *number < expected {
            return Err(Error::bad_file(
                folder.join(name),
                format!("is the second file with number {number}"),
                "move one of the two away",
            ));
        }
        if *number > expected {
            return Err(missing(folder, &prefix, expected, count));
        }
    }
    let found = shards.len() as u64;
    if found < count {
        return Err(missing(folder, &prefix, found, count));
    }
    Ok(shards.into_iter().map(|(_, _, name)| folder.join(name)).collect())
}

fn missing(folder: &Path, prefix: &str, number: u64, count: u64) -> Error {
    Error::bad_file(
        folder,
        format!("has no {prefix}{number:05}-of-{count:05}{EXTENSION}"),
        "add the missing file: the text would have a gap",
    )
}

/// `train-`, `validation-` or `test-`.
fn prefix(split: Split) -> String {
    match split {
        Split::Valid => "validation-".into(),
        split => format!("{split}-"),
    }
}

/// Names of the form `train-*.parquet`. A folder that cannot be read has none; the texts' absence is then
/// reported.
fn names(folder: &Path, split: Split) -> Vec<String> {
    let prefix = prefix(split);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str().map(str::to_owned));
    names.filter(|name| name.starts_with(&prefix) && name.ends_with(EXTENSION)).collect()
}

/// The number and the count in `train-00000-of-00002.parquet`, with a number below the count. Older files
/// have the beginning of a checksum after the count: `train-00000-of-00002-6ef3991c06080e14.parquet`.
fn number(name: &str, prefix: &str) -> Option<(u64, u64)> {
    let middle = name.strip_prefix(prefix)?.strip_suffix(EXTENSION)?;
    let (number, count) = middle.split_once("-of-")?;
    let count = count.split_once('-').map_or(count, |(count, _)| count);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parse = |text: &str| text.parse().ok().filter(|_| digits(text));
    let (number, count) = (parse(number)?, parse(count)?);
    (number < count).then_some((number, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let files = files(folder.path(), Split::Train)?;
        Ok(files.iter().map(|path| path.file_name().unwrap().to_str().unwrap().into()).collect())
    }

    #[test]
    fn files_are_ordered_by_number_and_complete() {
        let two = ["train-00001-of-00002.parquet", "train-00000-of-00002.parquet"];
        assert_eq!(found(&two).unwrap(), [two[1], two[0]]);
        let with_sum = ["train-00000-of-00001-6ef3991c06080e14.parquet"];
        assert_eq!(found(&with_sum).unwrap(), with_sum);
        let others =
            ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet.part", "train-x"];
        assert!(found(&others).unwrap().is_empty());
        // Ten or more are not ordered as text is.
        let many: Vec<_> = (0..11).map(|n| format!("train-{n}-of-11.parquet")).collect();
        assert_eq!(found(&many.iter().map(|n| &**n).collect::<Vec<_>>()).unwrap(), many);
    }

    #[test]
    fn gaps_and_mixtures_are_named() {
        for (names, problem) in [
            (&["train-00001-of-00002.parquet"][..], "has no train-00000-of-00002.parquet"),
            (&["train-00000-of-00002.parquet"], "has no train-00001-of-00002.parquet"),
            (
                &["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"],
                "has no train-00001-of-00003.parquet",
            ),
            (
                &["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"],
                "two sets: train-00000-of-00001.parquet and train-00000-of-00002.parquet",
            ),
            (
                &["train-00000-of-00001.parquet", "train-00000-of-00001-ab.parquet"],
                "is the second file with number 0",
            ),
            (&["train-a.parquet"], "train-a.parquet: its name does not say which part"),
            (&["train-00002-of-00002.parquet"], "does not say which part"),
            (&["train-+1-of-00002.parquet"], "does not say which part"),
        ] {
            let message = found(names).unwrap_err().to_string();
            assert!(message.contains(problem), "{message}");
        }
    }
}
