//! Limits how much of a cell's printed text reaches the notebook.

/// Bytes of text per cell.
pub const LIMIT: usize = 1 << 20;

#[derive(Debug, Default)]
pub struct OutputLimit {
    printed: usize,
}

impl OutputLimit {
    /// The part of `text` below the limit.
    pub fn admit<'a>(&mut self, text: &'a str) -> &'a str {
        let room = LIMIT.saturating_sub(self.printed);
        self.printed += text.len();
        &text[..text.floor_char_boundary(room)]
    }

    /// A note for the end of a cell that printed more.
    pub fn note(&self) -> Option<String> {
        (self.printed > LIMIT).then(|| {
            let (printed, limit) = (mib(self.printed), mib(LIMIT));
            format!(
                "\n[the cell printed {printed:.1} MiB; only the first {limit:.1} MiB are shown]\n"
            )
        })
    }
}

pub fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_is_admitted() {
        let mut limit = OutputLimit::default();
        assert_eq!(limit.admit("abc"), "abc");
        assert_eq!(limit.note(), None);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let mut limit = OutputLimit::default();
        limit.admit(&"x".repeat(LIMIT - 1));
        assert_eq!(limit.admit("\u{e9}"), "");
        assert_eq!(limit.admit("later"), "");
        limit.admit(&"x".repeat(99 << 20));
        let note = limit.note().unwrap();
        assert!(note.contains("100.0 MiB") && note.contains("first 1.0 MiB"), "{note}");
    }
}
