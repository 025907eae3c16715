//! Text to ids, on all cores: each reads a part of the file by itself, and the parts are put
//! together in their order.

use std::fs::File;
use std::path::Path;

use super::chunks::Chunks;
use super::threads::{in_threads, threads};
use super::vocab::Vocab;
use super::word_table::{BATCH, Key, SHORT, Words, halves, key};
use crate::{Error, Result};

/// The word that stands for the end of a line.
pub(super) const EOS: &str = "<eos>";

/// Its key.
const END: Key = [u64::from_le_bytes(*b"<eos>\0\0\0"), (EOS.len() as u64) << 56];

/// Reads one split: the ids of all its words, `<eos>` after every line.
///
/// Words end where Python's `str.split` ends them and lines where its text files end them (`\n`,
/// `\r\n`, `\r`), because that gives the published counts. A byte order mark is skipped.
///
/// # Errors
///
/// If the file cannot be read, is not UTF-8, or has no words or fewer than two lines.
pub(super) fn split(path: &Path, vocab: &mut Vocab) -> Result<Vec<u32>> {
    text(path, vocab, 2)
}

/// Reads a text of at least so many lines, as [`split`].
pub(super) fn text(path: &Path, vocab: &mut Vocab, least_lines: u64) -> Result<Vec<u32>> {
    super::format::check(path)?;
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    let bytes = file.metadata().map_err(Error::io(path, "read"))?.len();
    let count = (threads() as u64).min(bytes / PART).max(1);
    let ranges = super::chunks::ranges(&file, bytes, count).map_err(Error::io(path, "read"))?;
    let parts = in_threads(ranges, |range| Part::read(Chunks::new(&file, range)));
    let parts: Vec<Part> =
        parts.into_iter().collect::<std::io::Result<_>>().map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => invalid(path),
            _ => Error::io(path, "read")(error),
        })?;

    let lines: u64 = parts.iter().map(|part| part.lines).sum();
    let remedy = "put the text there, one paragraph a line, words separated by spaces";
    match lines {
        0 => Err(Error::bad_file(path, "is empty", remedy)),
        _ if !parts.iter().any(Part::has_words) => {
            Err(Error::bad_file(path, "has blank lines only, no words", remedy))
        }
        1 if least_lines > 1 => {
            Err(Error::bad_line(path, 1, "is the only line of the file", remedy))
        }
        _ => merge(parts, vocab).ok_or_else(|| {
            Error::bad_file(path, "more than 4 billion different words", "use a smaller text")
        }),
    }
}

/// Bytes worth a thread of their own.
const PART: u64 = 1 << 20;

/// A part of a text, read by itself: its words in order of first appearance, and the text as
/// numbers of these.
struct Part {
    words: Words,
    ids: Vec<u32>,
    lines: u64,
}

impl Part {
    fn read(mut chunks: Chunks<'_>) -> std::io::Result<Self> {
        let ids = Vec::with_capacity(usize::try_from(chunks.bytes() / 5).unwrap_or(0));
        let mut part = Self { words: Words::new(), ids, lines: 0 };
        let mut open = false;
        while let Some((text, padded)) = chunks.next()? {
            part.chunk(text, padded).ok_or(std::io::ErrorKind::OutOfMemory)?;
            open = !matches!(text.as_bytes().last(), Some(b'\n' | b'\r'));
        }
        if open {
            part.end_line().ok_or(std::io::ErrorKind::OutOfMemory)?;
        }
        Ok(part)
    }

    /// Reads a piece of text that no word crosses the end of. `padded` is the same with 16 bytes
    /// more. `None` once all numbers are given out.
    fn chunk(&mut self, text: &str, padded: &[u8]) -> Option<()> {
        let bytes = text.as_bytes();
        let mut batch = [Key::default(); BATCH];
        let mut waiting = 0;
        let mut at = 0;
        while at < bytes.len() {
            let wide = padded[at..at + 16].try_into().ok()?;
            let length = plain_length(halves(wide));
            let end = padded[at + length.min(SHORT)];
            let careful = length > SHORT || (end != b' ' && end != b'\n');
            // A word and a line end at most are added below.
            if careful || waiting + 2 > BATCH {
                self.words.numbers(&batch[..waiting], &mut self.ids)?;
                waiting = 0;
            }
            if careful {
                at = self.careful(text, at)?;
                continue;
            }
            batch[waiting] = key(wide, length);
            waiting += usize::from(length > 0);
            at += length + 1;
            if end == b'\n' {
                batch[waiting] = END;
                waiting += 1;
                self.lines += 1;
            }
        }
        self.words.numbers(&batch[..waiting], &mut self.ids)
    }

    /// Reads one word, byte by byte, and the white space that ends it; gives the place behind.
    #[cold]
    fn careful(&mut self, text: &str, start: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let mut at = start;
        let mut ends = 0;
        while at < bytes.len() && ends == 0 {
            ends = separator(text, at);
            at += usize::from(ends == 0);
        }
        if start < at {
            let number = self.words.number(&text[start..at])?;
            self.ids.push(number);
        }
        if bytes[at..].starts_with(b"\r\n") {
            ends = 2;
        }
        if matches!(bytes.get(at), Some(b'\n' | b'\r')) {
            self.end_line()?;
        }
        Some(at + ends)
    }

    fn end_line(&mut self) -> Option<()> {
        self.lines += 1;
        let eos = self.words.number(EOS)?;
        self.ids.push(eos);
        Some(())
    }

    /// Whether there is any word but line ends.
    fn has_words(&self) -> bool {
        let mut any = false;
        self.words.each(|word| any |= word != EOS);
        any
    }
}

/// How many of sixteen bytes, at most [`SHORT`] + 1, come before the first control character or
/// space; 16 where a byte beyond ASCII, which may be part of a white space, comes before that.
#[inline]
fn plain_length(wide: [u64; 2]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The lowest bit set marks the first byte under 0x21; those above it may err.
    let under = |word: u64| word.wrapping_sub(ONES * 0x21) & !word & HIGH;
    let first = |low: u64, high: u64| {
        if low != 0 { low.trailing_zeros() } else { 64 + high.trailing_zeros() }
    };
    let end = first(under(wide[0]), under(wide[1]));
    let beyond = first(wide[0] & HIGH, wide[1] & HIGH);
    if beyond < end { SHORT + 1 } else { end as usize / 8 }
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
/// in the whole text. `None` once all ids are given out.
fn merge(mut parts: Vec<Part>, vocab: &mut Vocab) -> Option<Vec<u32>> {
    let mut names = vec![];
    for part in &parts {
        let mut ids = Vec::with_capacity(part.words.len());
        part.words.each(|word| ids.push(vocab.intern(word)));
        names.push(ids.into_iter().collect::<Option<Vec<u32>>>()?);
    }
    // The first part of the first split has its final ids already.
    let same = |names: &[u32]| names.iter().zip(0..).all(|(id, number)| *id == number);
    if let ([only], [names]) = (&mut *parts, &*names) {
        let mut ids = std::mem::take(&mut only.ids);
        if !same(names) {
            ids.iter_mut().for_each(|id| *id = names[*id as usize]);
        }
        return Some(ids);
    }
    let mut merged = vec![0; parts.iter().map(|part| part.ids.len()).sum()];
    let mut rest = merged.as_mut_slice();
    let mut work = vec![];
    for (part, names) in parts.into_iter().zip(names) {
        let (place, after) = rest.split_at_mut(part.ids.len());
        work.push((place, part.ids, names));
        rest = after;
    }
    in_threads(work, |(place, ids, names)| {
        if same(&names) {
            place.copy_from_slice(&ids);
        } else {
            for (place, id) in place.iter_mut().zip(ids) {
                *place = names[id as usize];
            }
        }
    });
    Some(merged)
}

/// Where the text is not UTF-8.
fn invalid(path: &Path) -> Error {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return Error::io(path, "read")(error),
    };
    let bytes = bytes.strip_prefix(super::chunks::MARK).unwrap_or(&bytes);
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
        "find out its encoding (the command file guesses), and convert it: iconv -f ENCODING -t UTF-8",
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::data::chunks::ranges;

    /// The words of a text, by the plain rule.
    fn plainly(text: &str) -> Vec<String> {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let lines = text.strip_suffix('\n').unwrap_or(&text).split('\n');
        let space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
        let mut words = vec![];
        for line in lines.filter(|_| !text.is_empty()) {
            words.extend(line.split(space).filter(|word| !word.is_empty()).map(String::from));
            words.push(EOS.into());
        }
        words
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// In however many parts and pieces a text is read, its words are those of the plain rule.
        #[test]
        fn parts_and_pieces_do_not_show(
            text in "([a-cé]{0,20}|[ \n\r\u{a0}\u{3000}\x1c\0–])*{0,20}",
            count in 1..6u64,
            piece in 1..40usize,
        ) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let mut vocab = Vocab::default();
            let parts = ranges(&file, text.len() as u64, count).unwrap();
            let read = |range| Part::read(Chunks::with_piece(&file, range, piece)).unwrap();
            let ids = merge(parts.into_iter().map(read).collect(), &mut vocab).unwrap();
            let words: Vec<_> = ids.iter().map(|id| vocab.word(*id)).collect();
            prop_assert_eq!(words, plainly(&text));
            let first = ids.iter().scan(0, |next, id| {
                let fits = *id <= *next;
                *next = (*next).max(id + 1);
                Some(fits)
            });
            prop_assert!(first.into_iter().all(|fits| fits), "ids are not in first-appearance order");
        }
    }
}
