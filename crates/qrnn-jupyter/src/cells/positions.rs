//! Bytes, characters, lines and columns.

/// The byte of the character with this number.
pub fn byte_of_char(code: &str, character: usize) -> usize {
    code.char_indices().nth(character).map_or(code.len(), |(at, _)| at)
}

/// The byte of a line and a column, both counted from 1, the column in characters.
pub fn byte_of(code: &str, line: usize, column: usize) -> usize {
    let mut start = 0;
    for (number, text) in code.split_inclusive('\n').enumerate() {
        if number + 1 == line {
            let inside = text.char_indices().nth(column.saturating_sub(1));
            return start + inside.map_or(text.trim_end_matches('\n').len(), |(at, _)| at);
        }
        start += text.len();
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_follow_lines_and_columns() {
        let code = "é = 1\nab\n";
        assert_eq!(byte_of(code, 1, 1), 0);
        assert_eq!(byte_of(code, 1, 2), 2);
        assert_eq!(byte_of(code, 2, 2), 8);
        assert_eq!(byte_of(code, 2, 3), 9);
        assert_eq!(byte_of(code, 2, 99), 9);
        assert_eq!(byte_of(code, 9, 1), code.len());
    }
}
