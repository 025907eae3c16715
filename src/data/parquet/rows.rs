//! The rows of a file as the lines of the original text.

use std::ops::Range;

use super::file::ParquetFile;
use crate::data::chunks::{CHUNK, PADDING};
use crate::{Error, Result};

/// The blank line that an empty row stands for.
const BLANK_LINE: &str = " \n";

/// Rows decoded at a time. A row of WikiText-103 has 300 bytes on average.
const ROWS: usize = 256;

/// Restores the lines of some row groups. `block` gets them in blocks of whole lines: the text, and its
/// bytes followed by [`PADDING`] more, as the tokenizer wants them.
///
/// # Errors
/// [`Error::BadFile`] if a row is null or not UTF-8, or if the file is damaged; [`Error::Io`]; errors of
/// `block`.
pub(super) fn for_each_block<E: From<Error>>(
    file: &ParquetFile,
    row_groups: Range<usize>,
    block: &mut impl FnMut(&str, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut first_row: usize = (0..row_groups.start).map(|group| file.rows(group)).sum();
    let mut text = String::with_capacity(2 * CHUNK);
    let (mut values, mut levels) = (vec![], vec![]);
    for row_group in row_groups {
        let rows = file.rows(row_group);
        let mut column = file.text(row_group)?;
        let mut done = 0;
        while done < rows {
            values.clear();
            levels.clear();
            let want = ROWS.min(rows - done);
            let read = || column.read_records(want, Some(&mut levels), None, &mut values);
            let (read, present, _) = file.guarded(read)?;
            if present < read {
                // The levels of an optional column are 1 where there is a value.
                let null = levels.iter().position(|level| *level == 0).unwrap_or(0);
                return Err(null_row(file, first_row + done + null).into());
            }
            if read == 0 {
                let problem = format!("{rows} rows were expected, not {done}");
                return Err(file.damaged(&problem).into());
            }
            for (at, value) in values.iter().enumerate() {
                let line = str::from_utf8(value.data())
                    .map_err(|_| not_utf8(file, first_row + done + at))?;
                push_line(&mut text, line);
                if text.len() >= CHUNK {
                    flush(&mut text, block)?;
                }
            }
            done += read;
        }
        first_row += rows;
    }
    if text.is_empty() { Ok(()) } else { flush(&mut text, block) }
}

fn push_line(text: &mut String, row: &str) {
    if row.is_empty() {
        text.push_str(BLANK_LINE);
        return;
    }
    text.push_str(row);
    if !row.ends_with('\n') {
        text.push('\n');
    }
}

fn flush<E>(
    text: &mut String,
    block: &mut impl FnMut(&str, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let end = text.len();
    text.extend(std::iter::repeat_n('\0', PADDING));
    let result = block(&text[..end], text.as_bytes());
    text.clear();
    result
}

/// `row` is counted from 0.
fn null_row(file: &ParquetFile, row: usize) -> Error {
    Error::bad_file(
        file.path(),
        format!("row {} of its column `text` is null", row + 1),
        "write the text of that row, or an empty string for a blank line",
    )
}

fn not_utf8(file: &ParquetFile, row: usize) -> Error {
    Error::bad_file(
        file.path(),
        format!("row {} of its column `text` is not UTF-8", row + 1),
        "find the encoding of the text, and write it again as strings in UTF-8",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_the_original_lines() {
        let mut text = String::new();
        for row in ["", " = Title = \n", " stripped", "a\nb\n", "\n", "c\r"] {
            push_line(&mut text, row);
        }
        assert_eq!(text, " \n = Title = \n stripped\na\nb\n\nc\r\n");
    }
}
