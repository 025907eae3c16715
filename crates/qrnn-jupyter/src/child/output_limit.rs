//! How much of what a cell prints reaches the notebook.

/// Bytes of text that one cell may print to the notebook; a browser holds it all.
pub const LIMIT: usize = 1 << 20;

/// Counts what a cell prints and passes on no more than the limit.
#[derive(Debug, Default)]
pub struct Bound {
    printed: usize,
}

impl Bound {
    /// As much of `text` as there is room for.
    pub fn admit<'a>(&mut self, text: &'a str) -> &'a str {
        let room = LIMIT.saturating_sub(self.printed);
        self.printed += text.len();
        &text[..text.floor_char_boundary(room)]
    }

    /// What to say at the cell's end where something was left out.
    pub fn note(&self) -> Option<String> {
        (self.printed > LIMIT).then(|| {
            let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
            format!(
                "\n[the cell printed {:.1} MiB; the first {:.1} MiB are shown]\n",
                mib(self.printed),
                mib(LIMIT)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_passed_on_whole() {
        let mut bound = Bound::default();
        assert_eq!(bound.admit("abc"), "abc");
        assert_eq!(bound.note(), None);
    }

    #[test]
    fn more_is_cut_between_characters_and_said() {
        let mut bound = Bound::default();
        bound.admit(&"x".repeat(LIMIT - 1));
        assert_eq!(bound.admit("\u{e9}"), "");
        assert_eq!(bound.admit("later"), "");
        bound.admit(&"x".repeat(99 << 20));
        let note = bound.note().unwrap();
        assert!(note.contains("100.0 MiB") && note.contains("first 1.0 MiB"), "{note}");
    }
}
