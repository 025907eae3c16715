//! From the file that evcxr compiled back to the cell.

use ra_ap_syntax::ast::{self, AstNode};

use crate::cells::positions::byte_of;
use crate::cells::statements;

/// The start of the function that evcxr makes of a cell.
const FUNCTION: &str = "\npub extern \"C\" fn run_user_code_";

pub struct SourceMap {
    pieces: Vec<Piece>,
}

/// A statement, which has the same text in the cell and in the file.
struct Piece {
    /// In the file, from 1.
    line: usize,
    /// Characters before it on that line.
    indent: usize,
    /// Its first byte in the cell.
    at: usize,
    text: String,
}

impl SourceMap {
    /// `cell` is the code that evcxr got.
    pub fn new(cell: &str, file: &str) -> Self {
        // Items are before the function, among those of earlier cells; statements are in it, in order.
        let function = file.rfind(FUNCTION).unwrap_or_default();
        let mut behind = function;
        let mut pieces: Vec<Piece> = vec![];
        for statement in statements::of(cell) {
            let text = &cell[statement.start..statement.end];
            let is_item = ast::Item::can_cast(statement.node.kind());
            let (from, to) = if is_item { (0, function) } else { (behind, file.len()) };
            let mut places = file[from..to].match_indices(text).map(|(at, _)| from + at);
            let Some(at) = places.find(|&at| has_own_lines(file, at, text.len())) else { continue };
            if !is_item {
                behind = at + text.len();
            }
            let start = file[..at].rfind('\n').map_or(0, |at| at + 1);
            pieces.push(Piece {
                line: file[..at].matches('\n').count() + 1,
                indent: file[start..at].chars().count(),
                at: statement.start,
                text: text.to_owned(),
            });
        }
        Self { pieces }
    }

    /// The byte in the cell for a line and a column of the file, both counted from 1.
    pub fn byte(&self, line: usize, column: usize) -> Option<usize> {
        let piece = self.pieces.iter().find(|piece| {
            (piece.line..piece.line + piece.text.lines().count().max(1)).contains(&line)
        })?;
        let line = line - piece.line + 1;
        let column = if line == 1 { column.checked_sub(piece.indent)? } else { column };
        Some(piece.at + byte_of(&piece.text, line, column.max(1)))
    }
}

/// Whether nothing but a comment shares the first and last line of a text.
fn has_own_lines(file: &str, at: usize, length: usize) -> bool {
    let before = file[..at].rsplit('\n').next().unwrap_or_default();
    let after = file[at + length..].split('\n').next().unwrap_or_default().trim_start();
    before.trim().is_empty()
        && (after.is_empty() || after.starts_with("//") || after.starts_with("/*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_traced_back() {
        let cell = "fn f() {\n    g();\n}\nlet é = f(); // one\n  f();\nf();\nx";
        let file = "fn old() {\n    g();\n}\nfn f() {\n    g();\n}\n#[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_3(\nlet é = f(); // one\nf();\nf();\n(\nx\n).show();\n";
        let map = SourceMap::new(cell, file);
        let at = |line, column| map.byte(line, column).map(|at| &cell[at..]);
        assert_eq!(at(5, 5).unwrap().lines().next(), Some("g();"));
        assert_eq!(map.byte(2, 5), None);
        assert!(at(9, 9).unwrap().starts_with("f(); // one"));
        assert_eq!(map.byte(10, 1), cell.find("  f();").map(|at| at + 2));
        assert_eq!(map.byte(11, 1), cell.rfind("f();"));
        assert_eq!(map.byte(13, 1), cell.rfind('x'));
        assert_eq!(map.byte(7, 1), None);
        assert_eq!(map.byte(14, 3), None);
    }
}
