//! Commands of evcxr (`:dep ..`, `!ls`), which come before a cell's Rust code.

use std::borrow::Cow;

/// As many bytes and lines, all blank.
pub fn blank(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

/// The code with its commands blanked out, and the comments between them too.
pub fn without_commands(code: &str) -> String {
    let is_blanked = |line: &&str| {
        let text = line.trim_start();
        // `::std::fs::read(..)` is a path.
        let command = text.starts_with(':') && !text.starts_with("::") || line.starts_with('!');
        command || text.is_empty() || line.starts_with("//")
    };
    let end = code.split_inclusive('\n').take_while(is_blanked).map(str::len).sum();
    blank(&code[..end]) + &code[end..]
}

/// The code without `:quit`, which evcxr must not see, and whether it was there.
pub fn without_quit(code: &str) -> (Cow<'_, str>, bool) {
    let commands = code.split_inclusive('\n').take_while(|line| {
        let text = line.trim_start();
        text.is_empty() || text.starts_with(':') || ["//", "!"].iter().any(|s| line.starts_with(s))
    });
    let mut start = 0;
    for line in commands {
        if line.split_whitespace().next() == Some(":quit") {
            let end = start + line.trim_end_matches(['\r', '\n']).len();
            let blanked = [&code[..start], &blank(&code[start..end]), &code[end..]].concat();
            return (blanked.into(), true);
        }
        start += line.len();
    }
    (code.into(), false)
}

/// A command that removes all variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    Restart,
    Clear,
}

/// The first such command, and where its line starts and ends.
pub fn first_reset(code: &str) -> Option<(Reset, usize, usize)> {
    let blank = without_commands(code);
    let mut start = 0;
    for line in code.split_inclusive('\n') {
        let end = start + line.len();
        let reset = match line.trim() {
            ":restart" => Some(Reset::Restart),
            ":clear" => Some(Reset::Clear),
            _ => None,
        };
        if let Some(reset) = reset.filter(|_| blank[start..end].trim().is_empty()) {
            return Some((reset, start, end));
        }
        start = end;
    }
    None
}

/// Whether the cell is a single command whose output belongs in a pager.
pub fn is_help(code: &str) -> bool {
    let mut lines = code.trim().lines();
    let word = lines.next().and_then(|line| line.split(' ').next());
    lines.next().is_none() && matches!(word, Some(":help" | ":doc" | ":explain"))
}

/// The path in a cell that is only `:doc PATH`.
pub fn doc_path(code: &str) -> Option<&str> {
    let path = code.trim().strip_prefix(":doc ")?.trim();
    (!path.is_empty() && !path.contains('\n')).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_restart_in_a_string_is_text() {
        let found = |code| first_reset(code);
        assert_eq!(found(":env A=1\n:restart\nf()"), Some((Reset::Restart, 9, 18)));
        assert_eq!(found(":clear"), Some((Reset::Clear, 0, 6)));
        assert_eq!(found("let s = \"\n:restart\n\";"), None);
    }

    #[test]
    fn only_help_is_paged() {
        assert!(is_help(":help\n") && is_help(" :doc Vec"));
        assert!(!is_help(":help\n1 + 1") && !is_help(":vars") && !is_help(""));
    }

    #[test]
    fn doc_takes_a_single_path() {
        assert_eq!(doc_path(" :doc  std::vec::Vec\n"), Some("std::vec::Vec"));
        for code in [":doc", ":doc a\nb", "let x = 1;", ":docs a"] {
            assert_eq!(doc_path(code), None, "{code}");
        }
    }

    #[test]
    fn blanking_commands_moves_nothing() {
        let code = ":dep a\n\n// é\n!ls\nlet x = 1;\n:dep b";
        let blank = without_commands(code);
        assert_eq!(blank.len(), code.len());
        assert!(blank.trim_start().starts_with("let x = 1;"));
        assert_eq!(blank.lines().count(), code.lines().count());
        assert_eq!(without_commands("::std::process::id()"), "::std::process::id()");
    }
}
