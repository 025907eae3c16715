//! Counts the lines and words of a text incrementally.

/// Counts lines and words like the tokenizer: words are separated as by Python's `str.split`, lines by
/// `\n`, `\r\n` and `\r`.
#[derive(Default)]
pub(super) struct TokenCounter {
    lines: u64,
    words: u64,
    in_word: bool,
    /// Whether the last line is not terminated yet.
    unterminated: bool,
    after_cr: bool,
    /// The first bytes, at most two, of a character that continues in the next chunk.
    incomplete: Vec<u8>,
}

impl TokenCounter {
    pub fn update(&mut self, bytes: &[u8]) {
        if self.incomplete.is_empty() {
            return self.count_bytes(bytes);
        }
        let mut joined = std::mem::take(&mut self.incomplete);
        joined.extend(bytes);
        self.count_bytes(&joined);
    }

    fn count_bytes(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if matches!(byte, b'!'..=b'~') {
                self.words += u64::from(!self.in_word);
                (self.in_word, self.unterminated, self.after_cr) = (true, true, false);
                at += 1;
                continue;
            }
            if bytes.len() - at < bytes_needed(byte) {
                self.incomplete = bytes[at..].to_vec();
                return;
            }
            let length = space_length(&bytes[at..]);
            at += length.max(1);
            if matches!(byte, b'\n' | b'\r') {
                self.lines += u64::from(!(byte == b'\n' && self.after_cr));
                (self.in_word, self.unterminated) = (false, false);
                self.after_cr = byte == b'\r';
                continue;
            }
            self.words += u64::from(length == 0 && !self.in_word);
            (self.in_word, self.unterminated, self.after_cr) = (length == 0, true, false);
        }
    }

    /// The numbers of lines and words.
    pub fn finish(mut self) -> (u64, u64) {
        if !self.incomplete.is_empty() {
            // An incomplete character is not white space.
            self.words += u64::from(!self.in_word);
            self.unterminated = true;
        }
        (self.lines + u64::from(self.unterminated), self.words)
    }
}

/// Number of bytes needed to decide whether a character with this first byte is white space.
fn bytes_needed(byte: u8) -> usize {
    match byte {
        0xc2 => 2,
        0xe1..=0xe3 => 3,
        _ => 1,
    }
}

/// Length in bytes of the white space character at the start of the text, or 0.
fn space_length(bytes: &[u8]) -> usize {
    match bytes {
        [b'\t'..=b'\r' | 0x1c..=b' ', ..] => 1,
        [0xc2, 0x85 | 0xa0, ..] => 2,
        // U+1680; U+2000 to U+200A, U+2028, U+2029, U+202F; U+205F; U+3000.
        [0xe1, 0x9a, 0x80, ..]
        | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..]
        | [0xe2, 0x81, 0x9f, ..]
        | [0xe3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::{Corpus, Split};

    fn count_tokens(text: &[u8], chunk: usize) -> (u64, u64) {
        let mut count = TokenCounter::default();
        text.chunks(chunk).for_each(|chunk| count.update(chunk));
        count.finish()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn counts_equal_those_of_the_corpus_for_any_chunks(
            text in "([ab\u{e9}\u{6f22}\u{1f600}\u{2013}\u{3001} \t\r\n\u{1c}\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{205f}\u{3000}]|\r\n){0,40}",
            chunk in 1usize..9,
        ) {
            // A leading word rules out a byte order mark; a corpus needs two lines.
            let text = format!("a\n{text}\na");
            let folder = tempfile::tempdir().unwrap();
            for split in Split::ALL {
                std::fs::write(folder.path().join(format!("{split}.txt")), &text).unwrap();
            }
            let corpus = Corpus::from_dir(folder.path()).unwrap();
            let (lines, words) = count_tokens(text.as_bytes(), chunk);
            prop_assert_eq!(lines + words, corpus.tokens(Split::Valid).len() as u64);
            let eos = corpus.vocab().id("<eos>").unwrap();
            let ends = corpus.tokens(Split::Valid).iter().filter(|&&id| id == eos).count();
            prop_assert_eq!(lines, ends as u64);
        }
    }

    #[test]
    fn an_empty_text_has_no_lines_and_no_words() {
        assert_eq!(count_tokens(b"", 1), (0, 0));
    }
}
