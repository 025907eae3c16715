//! Text to ids, on all cores: each reads a part of the text by itself, and the parts are put
//! together in their order.

use std::ops::Range;
use std::path::Path;

use hashbrown::HashMap;

use super::Vocab;
use crate::{Error, Result};

/// The word that stands for the end of a line.
pub(super) const EOS: &str = "<eos>";

/// Reads one split: the ids of all its words, `<eos>` after every line.
///
/// Words end where Python's `str.split` ends them and lines where its text files end them (`\n`,
/// `\r\n`, `\r`), because that gives the published counts. A byte order mark is skipped.
///
/// # Errors
///
/// If the file cannot be read, is not UTF-8, or has no words or fewer than two lines.
pub(super) fn split(path: &Path, vocab: &mut Vocab) -> Result<Vec<u32>> {
    if path.is_dir() {
        return Err(Error::bad_file(
            path,
            "is a folder, where a text file should be",
            "move it away and put the text of this split in its place, one paragraph a line",
        ));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let parts = parts(bytes, threads().min(bytes.len() / PART).max(1));
    let read: Option<Vec<Part<'_>>> = match parts.as_slice() {
        [one] => Part::read(one).map(|part| vec![part]),
        many => std::thread::scope(|scope| {
            let working: Vec<_> =
                many.iter().map(|part| scope.spawn(|| Part::read(part))).collect();
            // A thread can only fail by a panic, which there is no reason for; then as invalid.
            working.into_iter().map(|thread| thread.join().ok().flatten()).collect()
        }),
    };
    let read = read.ok_or_else(|| invalid(bytes, path))?;

    let lines: u64 = read.iter().map(|part| part.lines).sum();
    let words = read.iter().any(|part| part.words.iter().any(|word| *word != EOS));
    let remedy =
        "put the text of this split there, one paragraph a line, words separated by spaces";
    match lines {
        0 => Err(Error::bad_file(path, "is empty", remedy)),
        _ if !words => Err(Error::bad_file(path, "has blank lines only, no words", remedy)),
        1 => Err(Error::bad_line(path, 1, "is the only line of the file", remedy)),
        _ => merge(read, vocab).ok_or_else(|| {
            Error::bad_file(path, "more than 4 billion different words", "use a smaller text")
        }),
    }
}

/// Cores to read with.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes worth a thread of their own.
const PART: usize = 1 << 20;

/// Cuts a text after line ends into at most `count` parts of about one size.
fn parts(bytes: &[u8], count: usize) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut parts = vec![];
    for left in (1..count).rev() {
        let about = rest.len() / (left + 1);
        let Some(end) = rest[about..].iter().position(|&byte| byte == b'\n') else { break };
        let (part, after) = rest.split_at(about + end + 1);
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

/// A part of a text, read by itself: its words in order of first appearance, and the text as
/// numbers of these.
struct Part<'a> {
    words: Vec<&'a str>,
    ids: Vec<u32>,
    lines: u64,
}

impl<'a> Part<'a> {
    /// `None` where the bytes are not UTF-8.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut part = Self { words: vec![], ids: Vec::with_capacity(text.len() / 5), lines: 0 };
        let mut table = Table::default();
        let (mut start, mut at) = (0, 0);
        while at < bytes.len() {
            let ends = separator(text, at);
            if ends == 0 {
                at += 1;
                continue;
            }
            part.word(text, start..at, &mut table)?;
            let line_end = matches!(bytes[at], b'\n' | b'\r');
            // "\r\n" is one line end.
            at += if bytes[at..].starts_with(b"\r\n") { 2 } else { ends };
            start = at;
            if line_end {
                part.lines += 1;
                part.word(EOS, 0..EOS.len(), &mut table)?;
            }
        }
        if start < bytes.len() || bytes.last().is_some_and(|last| !matches!(last, b'\n' | b'\r')) {
            part.word(text, start..text.len(), &mut table)?;
            part.lines += 1;
            part.word(EOS, 0..EOS.len(), &mut table)?;
        }
        Some(part)
    }

    /// Adds the word at a place of the text; an empty one is none.
    #[inline]
    fn word(&mut self, text: &'a str, place: Range<usize>, table: &mut Table<'a>) -> Option<()> {
        if place.is_empty() {
            return Some(());
        }
        let new = u32::try_from(self.words.len()).ok()?;
        let word = &text[place.clone()];
        let id = match short_key(text.as_bytes(), &place) {
            Some(key) => *table.short.entry(key).or_insert(new),
            None => *table.long.entry(word).or_insert(new),
        };
        if id == new {
            self.words.push(word);
        }
        self.ids.push(id);
        Some(())
    }
}

/// The numbers of words. Short ones, nearly all there are, are keys by value: to compare with one
/// that stands far off in the text would miss the cache each time.
#[derive(Default)]
struct Table<'a> {
    short: HashMap<u128, u32>,
    long: HashMap<&'a str, u32>,
}

/// Bytes that a short key has room for beside the word's length.
const SHORT: usize = 15;

/// A word of up to 15 bytes as a number, its length in the last byte.
#[inline]
fn short_key(bytes: &[u8], place: &Range<usize>) -> Option<u128> {
    let length = place.len();
    if length > SHORT {
        return None;
    }
    let word = match bytes.get(place.start..place.start + 16) {
        // All sixteen bytes at once, and those that follow the word masked away.
        Some(wide) => {
            let wide = u128::from_le_bytes(wide.try_into().ok()?);
            wide & ((1 << (8 * length)) - 1)
        }
        None => {
            let mut wide = [0; 16];
            wide[..length].copy_from_slice(&bytes[place.clone()]);
            u128::from_le_bytes(wide)
        }
    };
    Some(word | (length as u128) << (8 * SHORT))
}

/// Length in bytes of the white space at `at`, 0 where there is none: Unicode's, and the four
/// separators that only Python counts in. `at` may lie inside a character.
#[inline]
fn separator(text: &str, at: usize) -> usize {
    match text.as_bytes()[at] {
        b'\t'..=b'\r' | 0x1c..=b' ' => 1,
        // The first bytes of all white space beyond ASCII.
        0xc2 | 0xe1..=0xe3 => match text[at..].chars().next() {
            Some(c) if c.is_whitespace() => c.len_utf8(),
            _ => 0,
        },
        _ => 0,
    }
}

/// Puts parts together: new words get ids part after part, which is the order of first appearance
/// in the whole text. `None` once all `u32` are given out.
fn merge(parts: Vec<Part<'_>>, vocab: &mut Vocab) -> Option<Vec<u32>> {
    let mut merged: Vec<u32> = vec![];
    for Part { words, ids, .. } in parts {
        let global: Vec<u32> =
            words.into_iter().map(|word| vocab.intern(word)).collect::<Option<_>>()?;
        let renamed = ids.iter().map(|&id| global[id as usize]);
        if merged.is_empty() {
            merged = renamed.collect();
        } else {
            merged.extend(renamed);
        }
    }
    Some(merged)
}

/// Where the text is not UTF-8.
fn invalid(bytes: &[u8], path: &Path) -> Error {
    let good = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // The part before the first bad byte is UTF-8, so nothing is lost here.
        Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    let ended = good.replace("\r\n", "\n").matches(['\n', '\r']).count() as u64;
    let start = good.rfind(['\n', '\r']).map_or(0, |end| end + 1);
    let byte = bytes.get(good.len()).copied().unwrap_or_default();
    Error::bad_line(
        path,
        ended + 1,
        format!("byte {} of the line (0x{byte:02x}) is not UTF-8", good.len() - start + 1),
        "convert the file, for instance with: iconv -f LATIN1 -t UTF-8",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However many parts a text is read in, its ids are the same.
        #[test]
        fn parts_do_not_show(text in "[a-cé \n\r\u{a0}]{0,60}", count in 2..6usize) {
            let read = |parts: Vec<&[u8]>| {
                let mut vocab = Vocab::default();
                let parts = parts.into_iter().map(|part| Part::read(part).unwrap()).collect();
                let ids = merge(parts, &mut vocab).unwrap();
                (ids, vocab.iter().map(str::to_owned).collect::<Vec<_>>())
            };
            let many = parts(text.as_bytes(), count);
            prop_assert_eq!(many.concat(), text.as_bytes());
            prop_assert_eq!(read(many), read(vec![text.as_bytes()]));
        }
    }
}
