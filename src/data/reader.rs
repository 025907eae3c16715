//! The tokenizer. Each core tokenizes a segment of the text with local ids; the segments are then merged.

use std::fs::File;
use std::path::Path;

use super::chunks::{BYTE_ORDER_MARK, CHUNK, Chunks, ranges};
use super::threads::{in_threads, threads};
use super::vocab::Vocab;
use super::word_table::{BATCH, Key, MAX_SHORT, WordTable, halves, key};
use super::words::is_separator;
use crate::{Error, Result};

/// The end-of-line token.
pub(super) const EOS: &str = "<eos>";

/// The key of [`EOS`].
const EOS_KEY: Key = [u64::from_le_bytes(*b"<eos>\0\0\0"), (EOS.len() as u64) << 56];

/// Tokenizes a text of at least `min_lines` lines, with `<eos>` after every line.
///
/// Lines end as in Python's text files (`\n`, `\r\n`, `\r`), which gives the published token counts. A byte
/// order mark is skipped.
///
/// # Errors
/// If the file cannot be read, is not UTF-8, or has no words or too few lines.
pub(super) fn text(path: &Path, vocab: &mut Vocab, min_lines: u64) -> Result<Vec<u32>> {
    super::format::check(path)?;
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    let bytes = file.metadata().map_err(Error::io(path, "read"))?.len();
    let count = (threads() as u64).min(bytes / MIN_SEGMENT).max(1);
    let ranges = ranges(&file, bytes, count).map_err(Error::io(path, "read"))?;
    let segments = in_threads(ranges, |range| Segment::read(Chunks::new(&file, range, CHUNK)));
    let segments: Vec<Segment> = match segments.into_iter().collect::<std::io::Result<_>>() {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(invalid(path)?);
        }
        segments => segments.map_err(Error::io(path, "read"))?,
    };
    join(path, segments, vocab, min_lines)
}

/// Joins the segments of a text of at least `min_lines` lines. `path` is its (first) file, for errors.
///
/// # Errors
/// If the text has no words or too few lines.
pub(super) fn join(
    path: &Path,
    segments: Vec<Segment>,
    vocab: &mut Vocab,
    min_lines: u64,
) -> Result<Vec<u32>> {
    let lines: u64 = segments.iter().map(|segment| segment.lines).sum();
    let remedy = "write the text to this file, one paragraph per line, words separated by spaces";
    match lines {
        0 => Err(Error::bad_file(path, "is empty", remedy)),
        _ if segments.iter().all(|segment| segment.ids.len() as u64 == segment.lines) => {
            Err(Error::bad_file(path, "has only blank lines", remedy))
        }
        1 if min_lines > 1 => {
            Err(Error::bad_line(path, 1, "is the only line; a split needs at least two", remedy))
        }
        _ => merge(segments, vocab).ok_or_else(|| too_many_words(path)),
    }
}

/// The error when the ids are exhausted.
pub(super) fn too_many_words(path: &Path) -> Error {
    Error::bad_file(path, "has more than 4 billion different words", "use a smaller text")
}

/// Minimum bytes per thread.
pub(super) const MIN_SEGMENT: u64 = 1 << 20;

/// A tokenized segment of a text: its words in order of first appearance, and its tokens as ids local
/// to the segment.
pub(super) struct Segment {
    words: WordTable,
    ids: Vec<u32>,
    lines: u64,
}

impl Segment {
    /// An empty segment with room for about `bytes` of text.
    pub(super) fn new(bytes: u64) -> Self {
        let ids = Vec::with_capacity(usize::try_from(bytes / 5).unwrap_or(0));
        Self { words: WordTable::new(), ids, lines: 0 }
    }

    fn read(mut chunks: Chunks<'_>) -> std::io::Result<Self> {
        let mut segment = Self::new(chunks.bytes());
        let mut open = false;
        while let Some((text, padded)) = chunks.next()? {
            segment.chunk(text, padded).ok_or(std::io::ErrorKind::OutOfMemory)?;
            open = !matches!(text.as_bytes().last(), Some(b'\n' | b'\r'));
        }
        if open {
            segment.end_line().ok_or(std::io::ErrorKind::OutOfMemory)?;
        }
        Ok(segment)
    }

    /// Tokenizes a chunk of whole words; `padded` is the chunk followed by 16 more bytes. `None` when
    /// the local ids are exhausted.
    pub(super) fn chunk(&mut self, text: &str, padded: &[u8]) -> Option<()> {
        let bytes = text.as_bytes();
        let mut batch = [Key::default(); BATCH];
        let mut pending = 0;
        let mut at = 0;
        while at < bytes.len() {
            let wide = padded[at..at + 16].try_into().ok()?;
            let length = plain_length(halves(wide));
            let end = padded[at + length.min(MAX_SHORT)];
            let slow = length > MAX_SHORT || (end != b' ' && end != b'\n');
            // At most a word and a line end are added below.
            if slow || pending + 2 > BATCH {
                self.words.short_ids(&batch[..pending], &mut self.ids)?;
                pending = 0;
            }
            if slow {
                at = self.read_word(text, at)?;
                continue;
            }
            batch[pending] = key(wide, length);
            pending += usize::from(length > 0);
            at += length + 1;
            if end == b'\n' {
                batch[pending] = EOS_KEY;
                pending += 1;
                self.lines += 1;
            }
        }
        self.words.short_ids(&batch[..pending], &mut self.ids)
    }

    /// The slow path: reads one word and the white space character or line end after it; returns the
    /// offset after them.
    #[cold]
    fn read_word(&mut self, text: &str, start: usize) -> Option<usize> {
        let rest = &text[start..];
        let length = rest.find(is_separator).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        if !word.is_empty() {
            let id = self.words.id(word)?;
            self.ids.push(id);
        }
        let separator = if after.starts_with("\r\n") {
            2
        } else {
            after.chars().next().map_or(0, char::len_utf8)
        };
        if after.starts_with(['\n', '\r']) {
            self.end_line()?;
        }
        Some(start + length + separator)
    }

    fn end_line(&mut self) -> Option<()> {
        self.lines += 1;
        let eos = self.words.id(EOS)?;
        self.ids.push(eos);
        Some(())
    }
}

/// Number of the 16 bytes before the first control character or space; 16 if a non-ASCII byte, which
/// may be part of white space, comes first.
#[inline]
fn plain_length(wide: [u64; 2]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The lowest set bit marks the first byte below 0x21; higher bits may be wrong.
    let below_0x21 = |word: u64| word.wrapping_sub(ONES * 0x21) & !word & HIGH;
    let first = |low: u64, high: u64| {
        if low != 0 { low.trailing_zeros() } else { 64 + high.trailing_zeros() }
    };
    let end = first(below_0x21(wide[0]), below_0x21(wide[1]));
    let non_ascii = first(wide[0] & HIGH, wide[1] & HIGH);
    if non_ascii < end { MAX_SHORT + 1 } else { end as usize / 8 }
}

/// Merges segments. New words get ids segment by segment, which is the order of first appearance in the
/// whole text. `None` when the ids are exhausted.
fn merge(segments: Vec<Segment>, vocab: &mut Vocab) -> Option<Vec<u32>> {
    let mut merged = vec![0; segments.iter().map(|segment| segment.ids.len()).sum()];
    let mut rest = merged.as_mut_slice();
    let mut jobs = vec![];
    for segment in segments {
        let mut global_ids = Vec::with_capacity(segment.words.len());
        segment.words.for_each(|word| global_ids.push(vocab.intern(word)));
        let global_ids = global_ids.into_iter().collect::<Option<Vec<u32>>>()?;
        let (slots, after) = rest.split_at_mut(segment.ids.len());
        jobs.push((slots, segment.ids, global_ids));
        rest = after;
    }
    in_threads(jobs, |(slots, ids, global_ids)| {
        for (slot, id) in slots.iter_mut().zip(ids) {
            *slot = global_ids[id as usize];
        }
    });
    Some(merged)
}

/// An error that locates the first byte that is not UTF-8.
fn invalid(path: &Path) -> Result<Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    let good = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let lines = good.replace("\r\n", "\n").matches(['\n', '\r']).count() as u64;
    let start = good.rfind(['\n', '\r']).map_or(0, |end| end + 1);
    let byte = bytes.get(good.len()).copied().unwrap_or_default();
    Ok(Error::bad_line(
        path,
        lines + 1,
        format!("byte {} of the line (0x{byte:02x}) is not UTF-8", good.len() - start + 1),
        "find its encoding (for example with the command `file`), and convert it: iconv -f ENCODING -t UTF-8",
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// A simple reference tokenizer.
    fn tokenize(text: &str) -> Vec<String> {
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

        /// The words of a text do not depend on how it is split into segments and chunks.
        #[test]
        fn segments_and_chunks_give_the_words_of_the_reference(
            text in "([a-cé]{0,20}|[ \n\r\u{a0}\u{3000}\x1c\0–])*{0,20}",
            count in 1..6u64,
            chunk_size in 1..40usize,
        ) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let mut vocab = Vocab::default();
            let segments = ranges(&file, text.len() as u64, count).unwrap();
            let read = |range| Segment::read(Chunks::new(&file, range, chunk_size)).unwrap();
            let ids = merge(segments.into_iter().map(read).collect(), &mut vocab).unwrap();
            let words: Vec<_> = ids.iter().map(|id| vocab.word(*id)).collect();
            prop_assert_eq!(words, tokenize(&text));
            let first = ids.iter().scan(0, |next, id| {
                let in_order = *id <= *next;
                *next = (*next).max(id + 1);
                Some(in_order)
            });
            prop_assert!(first.into_iter().all(|in_order| in_order), "ids are not in first-appearance order");
        }
    }
}
