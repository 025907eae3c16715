//! How cells go wrong, for the reply and for the notebook.

use evcxr::CompilationError;

use crate::rustc::diagnostic::Diagnostic;
use crate::rustc::type_probes::{self, Insertion};

#[derive(Debug)]
pub struct Wrong {
    /// What kind of thing, in a word.
    pub name: String,
    /// In a line.
    pub value: String,
    /// At length, with colours.
    pub traceback: Vec<String>,
}

pub fn cell_name(count: u64) -> String {
    format!("cell [{count}]")
}

impl Wrong {
    pub fn plain(name: &str, value: String) -> Self {
        let traceback = vec![format!("\u{1b}[1;31m{name}\u{1b}[0m: {value}")];
        Self { name: name.into(), value, traceback }
    }

    /// A cell that was interrupted before its code has started.
    pub fn interrupted() -> Self {
        Self::plain("KeyboardInterrupt", "interrupted before it ran; all variables are kept".into())
    }

    /// A variable of a type that cannot be written down.
    pub fn nameless(name: &str, ty: &str, at: Option<usize>, code: &str, count: u64) -> Self {
        let title = format!("the variable `{name}` cannot be kept for later cells");
        let mut diagnostic = Diagnostic::at(&title, at, code, "its type has no name");
        diagnostic.remarks = [
            ("note", format!("it has type `{}`", type_probes::shown(ty))),
            (
                "help",
                "collect or box it (`Box<dyn Fn(i32) -> i32>`), or put the code in braces".into(),
            ),
        ]
        .map(|(level, text)| (level.to_owned(), text))
        .into();
        let traceback = vec![diagnostic.render(code, &cell_name(count))];
        Self { name: "CompileError".into(), value: title, traceback }
    }

    /// The evaluation process has ended; evcxr has started another.
    pub fn death(status: &str) -> Self {
        let status = status.lines().last().unwrap_or(status);
        let status = status.trim_start_matches("Subprocess terminated with status: ");
        let why = if status.contains("SIGKILL") {
            "something killed it, as the system does where memory runs out"
        } else if status.contains("SIGABRT") {
            "it gave up, as it does where memory runs out or a stack overflows"
        } else if status.contains("SIGSEGV") || status.contains("SIGBUS") {
            "it touched memory that is not its own"
        } else if status.contains("exit status") || status.contains("exit code") {
            "the cell ended it"
        } else {
            "it ended"
        };
        Self::plain(
            "ProcessEnded",
            format!(
                "the evaluation process has ended ({status}): {why}. All variables are lost; the \
                 next cell runs in a new process"
            ),
        )
    }

    /// Errors of the compiler's about `compiled`, which is `code` with insertions.
    pub fn rejected(
        errors: &[CompilationError],
        compiled: &str,
        code: &str,
        insertions: &[Insertion],
        count: u64,
        explain: impl FnMut(&mut Diagnostic),
    ) -> Self {
        let errors: Vec<_> = errors.iter().filter(|error| error.level() != "warning").collect();
        let diagnostics =
            errors.iter().map(|error| Diagnostic::new(error, compiled, code, insertions));
        let mut diagnostics: Vec<Diagnostic> = diagnostics.collect();
        // Evcxr compiles some cells twice.
        let mut seen = vec![];
        diagnostics.retain(|diagnostic| {
            let new = !seen.contains(diagnostic);
            seen.push(diagnostic.clone());
            new
        });
        diagnostics.iter_mut().for_each(explain);
        Self::drawn("CompileError", &diagnostics, code, count)
    }

    /// By the first of what is wrong, and with all of it drawn.
    pub fn drawn(name: &str, diagnostics: &[Diagnostic], code: &str, count: u64) -> Self {
        let value = match diagnostics.first() {
            Some(Diagnostic { title, code: Some(code), .. }) => format!("{title} [{code}]"),
            Some(diagnostic) => diagnostic.title.clone(),
            None => "the cell does not compile".into(),
        };
        let cell = cell_name(count);
        let traceback =
            diagnostics.iter().map(|diagnostic| diagnostic.render(code, &cell)).collect();
        Self { name: name.into(), value, traceback }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_explained() {
        for (status, word) in [
            ("Subprocess terminated with status: signal: 9 (SIGKILL)", "memory"),
            ("left over\nSubprocess terminated with status: exit status: 3", "exit status: 3"),
            (
                "Subprocess terminated with status: signal: 11 (SIGSEGV) (core dumped)",
                "not its own",
            ),
        ] {
            let wrong = Wrong::death(status);
            assert!(wrong.value.contains(word), "{}", wrong.value);
            assert!(wrong.value.contains("variables are lost"));
            assert!(!wrong.value.contains("left over"));
        }
    }
}
