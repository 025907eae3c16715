//! Text to ids: bytes to lines, lines to words, words to ids.

use std::path::Path;

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
    let text = decode(&bytes, path)?;
    let mut ids = Vec::with_capacity(text.len() / 5);
    let (mut lines, mut words) = (0u64, false);
    for line in Lines(text) {
        lines += 1;
        for word in line.split(ends_word).filter(|word| !word.is_empty()) {
            words = true;
            ids.push(intern(vocab, word, path, lines)?);
        }
        ids.push(intern(vocab, EOS, path, lines)?);
    }
    let remedy =
        "put the text of this split there, one paragraph a line, words separated by spaces";
    match lines {
        0 => Err(Error::bad_file(path, "is empty", remedy)),
        _ if !words => Err(Error::bad_file(path, "has blank lines only, no words", remedy)),
        1 => Err(Error::bad_line(path, 1, "is the only line of the file", remedy)),
        _ => Ok(ids),
    }
}

fn intern(vocab: &mut Vocab, word: &str, path: &Path, line: u64) -> Result<u32> {
    vocab.intern(word).ok_or_else(|| {
        Error::bad_line(path, line, "more than 4 billion different words", "use a smaller text")
    })
}

/// The text of a file without its byte order mark.
fn decode<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str> {
    let mark = "\u{feff}".as_bytes();
    let bytes = bytes.strip_prefix(mark).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        // The good part is UTF-8, so nothing is lost here.
        let good = str::from_utf8(good).unwrap_or_default();
        let ended = Lines(good).count() as u64;
        let start = good.rfind(['\n', '\r']).map_or(0, |end| end + 1);
        let begun = u64::from(start < good.len());
        let line = if begun == 1 { ended } else { ended + 1 };
        let byte = bytes[good.len()];
        Error::bad_line(
            path,
            line,
            format!("byte {} of the line (0x{byte:02x}) is not UTF-8", good.len() - start + 1),
            "convert the file, for instance with: iconv -f LATIN1 -t UTF-8",
        )
    })
}

/// Unicode white space, and the four separators that only Python counts in.
fn ends_word(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The lines of a text, without their ends; a last one without an end counts too.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.find(['\n', '\r']).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        let rest = rest.strip_prefix('\r').unwrap_or(rest);
        // After "\r" this takes the "\n" of "\r\n"; alone, the "\n" itself.
        self.0 = rest.strip_prefix('\n').unwrap_or(rest);
        Some(line)
    }
}
