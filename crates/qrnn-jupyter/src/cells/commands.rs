//! A cell's text: what the kernel reads off it before it is compiled.

use std::borrow::Cow;

use crate::cells::preloaded_crates;

/// Crates that every cell has already; a line that asks for one of them is for the stock kernel.
const PRELOADED: [&str; 2] = ["qrnn", "tch"];

/// The code with lines like `:dep qrnn = { path = ".." }` and `extern crate tch;` blanked out.
pub fn without_preloaded(code: &str) -> String {
    let lines = code.split_inclusive('\n').map(|line| {
        if asks_for_preloaded(line) { Cow::Owned(blank(line)) } else { Cow::Borrowed(line) }
    });
    lines.collect()
}

/// The code without a command `:quit`, which is the kernel's own affair, and whether there was one.
/// Commands come before Rust code; what stands behind that is none.
pub fn without_quit(code: &str) -> (Cow<'_, str>, bool) {
    let commands = code.split_inclusive('\n').take_while(|line| {
        let text = line.trim_start();
        text.is_empty() || text.starts_with(':') || ["//", "!"].iter().any(|s| line.starts_with(s))
    });
    let mut at = 0;
    for line in commands {
        if line.split_whitespace().next() == Some(":quit") {
            let end = line.trim_end_matches(['\r', '\n']).len();
            let blank = " ".repeat(end);
            return (format!("{}{blank}{}", &code[..at], &code[at + end..]).into(), true);
        }
        at += line.len();
    }
    (code.into(), false)
}

fn asks_for_preloaded(line: &str) -> bool {
    let line = line.trim();
    let name =
        line.strip_prefix("extern crate ").and_then(|rest| rest.strip_suffix(';')).map(str::trim);
    name.is_some_and(|name| PRELOADED.contains(&name)) || preloaded_crates::is_preloaded(line)
}

/// As many bytes and lines without anything on them.
pub fn blank(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

/// A command after which no variable is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptying {
    Restart,
    Clear,
}

/// The first such command among those that a cell begins with, and where its line begins and ends.
pub fn emptying(code: &str) -> Option<(Emptying, usize, usize)> {
    let blank = crate::cells::completeness::without_commands(code);
    let mut start = 0;
    for line in code.split_inclusive('\n') {
        let end = start + line.len();
        let found = match line.trim() {
            ":restart" => Some(Emptying::Restart),
            ":clear" => Some(Emptying::Clear),
            _ => None,
        };
        if let Some(found) = found.filter(|_| blank[start..end].trim().is_empty()) {
            return Some((found, start, end));
        }
        start = end;
    }
    None
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
    fn quit_is_a_command_before_code() {
        let quits = |code| {
            let (left, quits) = without_quit(code);
            assert_eq!(left.len(), code.len());
            (left.trim().to_owned(), quits)
        };
        assert_eq!(quits(":quit"), (String::new(), true));
        assert_eq!(quits("// bye\n  :quit \r\nf()"), ("// bye\n        \r\nf()".into(), true));
        assert_eq!(quits(":dep rand\n:quit\n1"), (":dep rand\n     \n1".into(), true));
        for code in ["f();\n:quit", ":quitter", "\":quit\"", ""] {
            assert_eq!(quits(code), (code.to_owned(), false));
        }
    }

    #[test]
    fn a_restart_is_a_command_and_no_text() {
        let found = |code| emptying(code);
        assert_eq!(found(":env A=1\n:restart\nf()"), Some((Emptying::Restart, 9, 18)));
        assert_eq!(found(":clear"), Some((Emptying::Clear, 0, 6)));
        assert_eq!(found("let s = \"\n:restart\n\";"), None);
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
}
