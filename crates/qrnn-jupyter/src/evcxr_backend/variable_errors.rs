//! Messages about variables: cells that are refused because variables would become unreadable, and
//! variables that are lost.

use crate::notebook::conflicts::Conflict;
use crate::notebook::state::{LostBy, Notebook};
use crate::protocol::cell_error::CellError;
use crate::rustc::build_inputs::Change;
use crate::rustc::compile_error;
use crate::rustc::diagnostic::Diagnostic;

const NAME: &str = "VariablesWouldBeLost";

/// New definitions would make variables unreadable. `conflicts` are sorted by item.
pub fn definition_changed(conflicts: &[Conflict<'_>], cell: &str, count: u64) -> CellError {
    let same_item = |one: &Conflict<'_>, other: &Conflict<'_>| one.item.at == other.item.at;
    let diagnostics: Vec<Diagnostic> = conflicts
        .chunk_by(same_item)
        .map(|conflicts| {
            let item = conflicts[0].item;
            let names: Vec<&str> = conflicts.iter().map(|c| c.variable.as_str()).collect();
            let (listed, drops) = (listed(&names), drops(&names));
            let title = format!(
                "this definition of `{}` differs from the earlier one, and {listed} may hold values \
                 of that",
                item.name.text()
            );
            let label = "differs from the earlier definition";
            let mut diagnostic = Diagnostic::at(&title, Some(item.at), cell, label);
            let help = format!(
                "take what you need out of {listed}, run `{drops}` in a cell, and run this cell again"
            );
            diagnostic.notes = vec![
                ("note".into(), "nothing was run, and all variables are unchanged".into()),
                ("help".into(), help),
                ("help".into(), "or give the new definition another name".into()),
            ];
            diagnostic
        })
        .collect();
    compile_error::drawn(NAME, &diagnostics, cell, count)
}

/// An input of the build changed, and variables may hold values of the earlier build.
pub fn input_changed(change: &Change, names: &[String]) -> CellError {
    let what = match change {
        Change::Crate(name) => format!(
            "the crate `{name}` was rebuilt (with other features, in another version, or from changed \
             sources)"
        ),
        Change::File(path) => {
            format!("the file {path} has changed, and a definition of the notebook reads it")
        }
        Change::Variable(name) => format!(
            "the environment variable {name} has changed, and a definition of the notebook reads it"
        ),
    };
    refused(&format!("{what}; {} may hold earlier values", listed(names)), names)
}

/// The child process found another type than the one that a variable was stored with.
pub fn type_changed(names: &[String]) -> CellError {
    refused(&format!("the type of {} has changed since its value was made", listed(names)), names)
}

fn refused(why: &str, names: &[String]) -> CellError {
    let (listed, drops) = (listed(names), drops(names));
    let it = if names.len() == 1 { "its value" } else { "their values" };
    CellError::plain(
        NAME,
        format!(
            "{why}. Nothing was run, and all variables are unchanged. Either run `{drops}` in a cell \
             and run this cell again, or bind {listed} again in this cell. To read {it}, undo the \
             change first"
        ),
    )
}

fn listed(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

fn drops(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| format!("drop({});", name.as_ref())).collect::<Vec<_>>().join(" ")
}

fn are(names: &[String]) -> &'static str {
    if names.len() == 1 { "is" } else { "are" }
}

/// If an unknown name was a variable, says how it was lost.
pub fn explain_lost(notebook: &Notebook, diagnostic: &mut Diagnostic) {
    let unknown = diagnostic.title.strip_prefix("cannot find value `");
    let Some(name) = unknown.and_then(|rest| rest.split('`').next()).map(str::to_owned) else {
        return;
    };
    let Some(lost) = notebook.lost(&name) else { return };
    let cell = lost.cell;
    let (title, help) = match lost.by {
        LostBy::Move => (
            format!("the variable `{name}` was moved by cell [{cell}]"),
            format!(
                "bind it again (`let {name} = ..`), or use a reference (`&{name}`) or a copy \
                 (`{name}.clone()`) in that cell"
            ),
        ),
        LostBy::ProcessEnd => (
            format!("the variable `{name}` was lost when its process ended, in cell [{cell}]"),
            format!("run the cell that made `{name}` again"),
        ),
    };
    diagnostic.title = title;
    for annotation in diagnostic.annotations.iter_mut().filter(|annotation| annotation.primary) {
        annotation.label = "lost".into();
    }
    diagnostic.notes.retain(|(_, text)| !text.contains("similar name"));
    diagnostic.notes.push(("help".into(), help));
}

/// The result of `:restart`.
pub fn restarted(lost: &[String]) -> String {
    let variables = match lost {
        [] => "there were no variables".to_owned(),
        _ => format!("{} {} gone", listed(lost), are(lost)),
    };
    format!(
        "the process that runs cells was restarted; {variables}. Definitions and dependencies stay"
    )
}

/// The result of `:clear`.
pub fn cleared(lost: &[String]) -> String {
    let among =
        if lost.is_empty() { String::new() } else { format!(", among them {}", listed(lost)) };
    format!("all definitions, dependencies and variables are gone{among}")
}

/// Adds the variables that a failed cell has lost.
pub fn note_lost(error: &mut CellError, lost: &[String]) {
    if !lost.is_empty() {
        let (listed, are) = (listed(lost), are(lost));
        error
            .traceback
            .push(format!("  note: {listed} {are} gone: the cell moves or replaces the value"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_change_the_variables_and_the_remedy() {
        let error = input_changed(&Change::Crate("tokio".into()), &["a".into(), "b".into()]);
        for part in ["`tokio`", "`a`, `b` may hold", "Nothing was run", "drop(a); drop(b);"] {
            assert!(error.value.contains(part), "{part} is not in {}", error.value);
        }
        assert!(type_changed(&["a".into()]).value.contains("the type of `a` has changed"));
        let error = input_changed(&Change::File("/m.rs".into()), &["a".into()]);
        assert!(error.value.starts_with("the file /m.rs has changed"), "{}", error.value);
    }
}
