//! Text that the kernel inserts into a cell, and the way back to the user's code.

/// Text put into a cell's code.
#[derive(Debug, Clone, PartialEq)]
pub struct Insertion {
    /// The byte of the cell that it is put before.
    pub at: usize,
    /// How many bytes it replaces.
    pub replaced: usize,
    pub text: String,
}

impl Insertion {
    pub fn before(at: usize, text: impl Into<String>) -> Self {
        Self { at, replaced: 0, text: text.into() }
    }
}

/// Each insertion with the byte where it starts in the changed code, and the shift of what follows.
fn placed(insertions: &[Insertion]) -> impl Iterator<Item = (&Insertion, usize, isize)> {
    let mut shift = 0_isize;
    insertions.iter().map(move |insertion| {
        let start = insertion.at.saturating_add_signed(shift);
        shift += insertion.text.len() as isize - insertion.replaced as isize;
        (insertion, start, shift)
    })
}

/// The code with the insertions, which are sorted by place.
pub fn insert(code: &str, insertions: &[Insertion]) -> String {
    let (mut changed, mut done) = (String::new(), 0);
    for insertion in insertions {
        changed += &code[done..insertion.at];
        changed += &insertion.text;
        done = insertion.at + insertion.replaced;
    }
    changed + &code[done..]
}

/// One list for both: `second` refers to the code that `first` was inserted into.
pub fn combine(first: &[Insertion], second: Vec<Insertion>) -> Vec<Insertion> {
    // Sorted by place in that code; at the same place, `second` comes first.
    let mut all: Vec<(usize, bool, Insertion)> =
        placed(first).map(|(insertion, start, _)| (start, true, insertion.clone())).collect();
    all.extend(second.into_iter().map(|insertion| {
        let at = original(first, insertion.at);
        (insertion.at, false, Insertion { at, ..insertion })
    }));
    all.sort_by_key(|(at, is_first, _)| (*at, *is_first));
    all.into_iter().map(|(_, _, insertion)| insertion).collect()
}

/// The byte of the user's code for a byte of the changed code.
pub fn original(insertions: &[Insertion], byte: usize) -> usize {
    let mut shift = 0;
    for (insertion, start, after) in placed(insertions) {
        if byte < start {
            break;
        }
        if byte < start + insertion.text.len() {
            return insertion.at;
        }
        shift = after;
    }
    byte.saturating_add_signed(-shift)
}

/// Whether a byte of the changed code was inserted.
pub fn is_inserted(insertions: &[Insertion], byte: usize) -> bool {
    placed(insertions)
        .any(|(insertion, start, _)| (start..start + insertion.text.len()).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_traced_back() {
        let code = "let é = 1; let (a, b) = p; a.x";
        let colon = code.find(" = 1").unwrap();
        let end = code.find(" a.x").unwrap();
        let insertions = [
            Insertion::before(colon, ": i32"),
            Insertion { at: end, replaced: 1, text: " let a: u8 = a; ".into() },
        ];
        let changed = insert(code, &insertions);
        for needle in ["= 1", "(a, b)", "a.x"] {
            let (there, here) = (changed.find(needle).unwrap(), code.find(needle).unwrap());
            assert_eq!(original(&insertions, there), here, "{needle}");
        }
        assert_eq!(original(&insertions, changed.find("i32").unwrap()), colon);
    }

    #[test]
    fn two_lists_become_one() {
        let code = "let a = 1; impl T {} let (b, c) = p; end";
        let first = [Insertion::before(0, "let x: u8; "), Insertion::before(11, "mod k {} ")];
        let prepared = insert(code, &first);
        let at = |text: &str| prepared.find(text).unwrap() + text.len();
        let second = vec![
            Insertion::before(at("let a"), ": i32"),
            Insertion::before(at("= p;"), " let b: i32 = b;"),
            Insertion::before(at("= p;"), " let c: i32 = c;"),
        ];
        let changed = insert(&prepared, &second);
        let both = combine(&first, second);
        assert_eq!(insert(code, &both), changed);
        for needle in ["= 1", "impl T", "(b, c)", "end"] {
            let (there, here) = (changed.find(needle).unwrap(), code.find(needle).unwrap());
            assert_eq!(original(&both, there), here, "{needle}");
            assert!(!is_inserted(&both, there));
        }
    }

    #[test]
    fn inserted_bytes_are_recognized() {
        let insertions = [Insertion { at: 4, replaced: 1, text: "abc".into() }];
        let inside: Vec<usize> = (0..10).filter(|&byte| is_inserted(&insertions, byte)).collect();
        assert_eq!(inside, [4, 5, 6]);
    }
}
