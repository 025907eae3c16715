//! Lines and words of a text that comes in pieces.

/// Counts lines and words as the corpus does: words end where Python's `str.split` ends them, lines
/// at `\n`, `\r\n` and `\r`.
#[derive(Default)]
pub(super) struct Count {
    lines: u64,
    words: u64,
    in_word: bool,
    /// Something came after the last line end.
    open_line: bool,
    after_return: bool,
    /// The beginning of a character that a piece broke off in, at most two bytes.
    broken: Vec<u8>,
}

impl Count {
    pub fn take(&mut self, bytes: &[u8]) {
        if self.broken.is_empty() {
            return self.whole(bytes);
        }
        let mut joined = std::mem::take(&mut self.broken);
        joined.extend(bytes);
        self.whole(&joined);
    }

    fn whole(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if matches!(byte, b'!'..=b'~') {
                self.words += u64::from(!self.in_word);
                (self.in_word, self.open_line, self.after_return) = (true, true, false);
                at += 1;
                continue;
            }
            if bytes.len() - at < need(byte) {
                self.broken = bytes[at..].to_vec();
                return;
            }
            let space = space(&bytes[at..]);
            at += space.max(1);
            if matches!(byte, b'\n' | b'\r') {
                self.lines += u64::from(!(byte == b'\n' && self.after_return));
                (self.in_word, self.open_line) = (false, false);
                self.after_return = byte == b'\r';
                continue;
            }
            self.words += u64::from(space == 0 && !self.in_word);
            (self.in_word, self.open_line, self.after_return) = (space == 0, true, false);
        }
    }

    /// Lines and words.
    pub fn end(mut self) -> (u64, u64) {
        if !self.broken.is_empty() {
            // Half a character is no space.
            self.words += u64::from(!self.in_word);
            self.open_line = true;
        }
        (self.lines + u64::from(self.open_line), self.words)
    }
}

/// Bytes to be seen before one knows whether they are a space.
fn need(byte: u8) -> usize {
    match byte {
        0xc2 => 2,
        0xe1..=0xe3 => 3,
        _ => 1,
    }
}

/// Bytes of the white space that the text begins with, 0 where it does not.
fn space(bytes: &[u8]) -> usize {
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

    fn count(text: &[u8], piece: usize) -> (u64, u64) {
        let mut count = Count::default();
        text.chunks(piece).for_each(|piece| count.take(piece));
        count.end()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn counts_are_the_corpus_s_however_the_text_is_cut(
            text in "([ab\u{e9}\u{6f22}\u{1f600}\u{2013}\u{3001} \t\r\n\u{1c}\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{205f}\u{3000}]|\r\n){0,40}",
            piece in 1usize..9,
        ) {
            // A word in front, which no byte order mark can be, and two lines make it a corpus.
            let text = format!("a\n{text}\na");
            let folder = tempfile::tempdir().unwrap();
            for split in Split::ALL {
                std::fs::write(folder.path().join(format!("{split}.txt")), &text).unwrap();
            }
            let corpus = Corpus::from_dir(folder.path()).unwrap();
            let (lines, words) = count(text.as_bytes(), piece);
            prop_assert_eq!(lines + words, corpus.tokens(Split::Valid).len() as u64);
            let eos = corpus.vocab().id("<eos>").unwrap();
            let ends = corpus.tokens(Split::Valid).iter().filter(|&&id| id == eos).count();
            prop_assert_eq!(lines, ends as u64);
        }
    }

    #[test]
    fn an_empty_text_has_nothing() {
        assert_eq!(count(b"", 1), (0, 0));
    }
}
