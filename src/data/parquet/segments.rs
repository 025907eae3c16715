//! Row groups shared out to threads.

use std::ops::Range;

use super::file::ParquetFile;
use super::rows;
use crate::Result;
use crate::data::reader::{MIN_SEGMENT, Segment, too_many_words};

/// Consecutive row groups, in the order of the text: files, and row groups of each.
pub(super) type Part<'a> = Vec<(&'a ParquetFile, Range<usize>)>;

/// Splits files into at most `threads` parts of similar size, of at least [`MIN_SEGMENT`] bytes unless
/// there is only one. A row group is not divided.
pub(super) fn split(files: &[ParquetFile], threads: u64) -> Vec<Part<'_>> {
    let groups = || files.iter().flat_map(|file| file.row_groups().map(move |group| (file, group)));
    let total: u64 = groups().map(|(file, group)| file.text_bytes(group)).sum();
    let count = threads.min(total / MIN_SEGMENT).max(1);
    let mut parts: Vec<Part<'_>> = vec![vec![]];
    let mut before = 0;
    for (file, group) in groups() {
        // A part begins with the row group that passes the next multiple of the equal share.
        let due = (before * count).checked_div(total).unwrap_or(0);
        if due >= parts.len() as u64 {
            parts.push(vec![]);
        }
        before += file.text_bytes(group);
        let Some(part) = parts.last_mut() else { continue };
        match part.last_mut() {
            Some((last, groups)) if std::ptr::eq(*last, file) => groups.end = group + 1,
            _ => part.push((file, group..group + 1)),
        }
    }
    parts
}

/// Tokenizes a part.
pub(super) fn tokenize(part: Part<'_>) -> Result<Segment> {
    let sizes = part.iter().flat_map(|(file, groups)| groups.clone().map(|g| file.text_bytes(g)));
    let mut segment = Segment::new(sizes.sum());
    for (file, groups) in part {
        rows::for_each_block(file, groups, &mut |text, padded| {
            segment.chunk(text, padded).ok_or_else(|| too_many_words(file.path()))
        })?;
    }
    Ok(segment)
}
