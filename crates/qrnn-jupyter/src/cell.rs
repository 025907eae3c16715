//! A cell's text: what the kernel reads off it before it is compiled.

use std::borrow::Cow;

/// Crates that every cell has already; a line that asks for one of them is for the stock kernel.
const PRELOADED: [&str; 2] = ["qrnn", "tch"];

/// The code with lines like `:dep qrnn = { path = ".." }` and `extern crate tch;` blanked out.
pub fn without_preloaded(code: &str) -> String {
    let lines = code.split_inclusive('\n').map(|line| {
        if asks_for_preloaded(line) {
            let blank: String =
                line.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
            Cow::Owned(blank)
        } else {
            Cow::Borrowed(line)
        }
    });
    lines.collect()
}

fn asks_for_preloaded(line: &str) -> bool {
    let line = line.trim();
    let name = if let Some(dependency) = line.strip_prefix(":dep ") {
        dependency.split(['=', ' ']).find(|word| !word.is_empty())
    } else {
        line.strip_prefix("extern crate ").and_then(|rest| rest.strip_suffix(';')).map(str::trim)
    };
    name.is_some_and(|name| PRELOADED.contains(&name))
}

/// A cell that is one command which explains something: its answer is for a pager.
pub fn asks_for_help(code: &str) -> bool {
    let mut lines = code.trim().lines();
    let word = lines.next().and_then(|line| line.split(' ').next());
    lines.next().is_none() && matches!(word, Some(":help" | ":doc" | ":explain"))
}

/// What a cell that is `:doc PATH` alone asks about.
pub fn documented(code: &str) -> Option<&str> {
    let path = code.trim().strip_prefix(":doc ")?.trim();
    (!path.is_empty() && !path.contains('\n')).then_some(path)
}

/// The byte of the cell where a place in the compiled code lies: a line of that code, from the
/// first of its bytes that a statement has on it, stands in the cell as it is.
pub fn find_line(
    code: &str,
    compiled: &str,
    number: usize,
    line: &str,
    column: usize,
) -> Option<usize> {
    let text = line.trim_end();
    if text.trim().is_empty() {
        return None;
    }
    // The same text may stand on several lines: the k-th there is the k-th here.
    let before = compiled.lines().take(number.checked_sub(1)?);
    let k = before.filter(|other| other.trim_end() == text).count();
    let mut found = vec![];
    let mut start = 0;
    for own in code.split_inclusive('\n') {
        if let Some(at) = own.find(text) {
            found.push(start + at);
        }
        start += own.len();
    }
    let at = found.get(k).or(found.last())?;
    Some((at + column).min(code.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_preloaded_need_not_be_asked_for() {
        let code =
            ":dep qrnn = { path = \"..\" }\n:dep rand = \"0.9\"\nextern crate tch;\nlet a = 1;";
        let left = without_preloaded(code);
        assert_eq!(left.len(), code.len());
        assert_eq!(
            left.lines().map(str::trim).collect::<Vec<_>>(),
            ["", ":dep rand = \"0.9\"", "", "let a = 1;"]
        );
        assert_eq!(without_preloaded(":dep qrnn-tools"), ":dep qrnn-tools");
    }

    #[test]
    fn only_explanations_are_paged() {
        assert!(asks_for_help(":help\n") && asks_for_help(" :doc Vec"));
        assert!(!asks_for_help(":help\n1 + 1") && !asks_for_help(":vars") && !asks_for_help(""));
    }

    #[test]
    fn a_path_to_explain_stands_alone() {
        assert_eq!(documented(" :doc  std::vec::Vec\n"), Some("std::vec::Vec"));
        for code in [":doc", ":doc a\nb", "let x = 1;", ":docs a"] {
            assert_eq!(documented(code), None, "{code}");
        }
    }

    #[test]
    fn lines_are_found_again() {
        let code = "f();\nlet a = 1; f();\nf();";
        let compiled = "generated\nf();\nlet a: i32 = 1; \nf();\nf();\n";
        assert_eq!(find_line(code, compiled, 2, "f();", 0), Some(0));
        assert_eq!(find_line(code, compiled, 4, "f();", 1), Some(17));
        assert_eq!(find_line(code, compiled, 5, "f();", 0), Some(21));
        assert_eq!(find_line(code, compiled, 1, "generated", 0), None);
    }
}
