//! What a word is.

/// Whether a character separates words, as for Python's `str.split`: Unicode white space, and the four
/// separators U+001C to U+001F.
pub(super) fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// The words of a text, separated as in a corpus.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_separator).filter(|word| !word.is_empty())
}
