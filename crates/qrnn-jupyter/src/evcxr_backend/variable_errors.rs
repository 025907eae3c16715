//! Cells that are not run, as variables would be lost by them; and what is said of variables that are
//! gone.

use crate::notebook::state::{Gone, How, Loss, Notebook};
use crate::protocol::cell_error::Wrong;
use crate::rustc::build_inputs::Cause;
use crate::rustc::diagnostic::Diagnostic;

const NAME: &str = "VariablesWouldBeLost";

/// A new definition would make variables of the old one unreadable.
pub fn by_definition(losses: &[Loss<'_>], code: &str, count: u64) -> Wrong {
    let mut diagnostics: Vec<Diagnostic> = vec![];
    let mut at = None;
    for loss in losses {
        // One drawing an item; its variables come together.
        if at == Some(loss.item.at) {
            continue;
        }
        at = Some(loss.item.at);
        let same = losses.iter().filter(|other| other.item.at == loss.item.at);
        let names: Vec<&str> = same.map(|loss| loss.variable.as_str()).collect();
        let title = format!(
            "another definition than before, and {} may hold values of that",
            listed(&names)
        );
        let mut diagnostic = Diagnostic::at(&title, at, code, "defined otherwise before");
        diagnostic.remarks = vec![
            ("note".into(), "nothing was run, and every variable is as it was".into()),
            ("help".into(), format!("to go on, {}", go_on(&names))),
            ("help".into(), "or give what is new a name of its own".into()),
        ];
        diagnostics.push(diagnostic);
    }
    Wrong::drawn(NAME, &diagnostics, code, count)
}

/// What the cell is compiled from is no longer what earlier cells were compiled from.
pub fn by_change(cause: &Cause, names: &[String]) -> Wrong {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let what = match cause {
        Cause::Crate(name) => format!(
            "the crate `{name}` was built anew (other features, another version, or its sources \
             have changed)"
        ),
        Cause::File(path) => {
            format!("the file {path}, which a definition of the notebook reads, has changed")
        }
        Cause::Variable(name) => format!(
            "{name} in the environment, which a definition of the notebook reads, has changed"
        ),
    };
    plain(&format!("{what}, and {} may hold values of before that", listed(&names)), &names)
}

/// The process found another type than the one that a variable was stored with.
pub fn by_type(names: &[String]) -> Wrong {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let why = format!("the type of {} is another than when the value was made", listed(&names));
    plain(&why, &names)
}

fn plain(why: &str, names: &[&str]) -> Wrong {
    let (listed, drops) = (listed(names), drops(names));
    let it = if names.len() == 1 { "it holds" } else { "they hold" };
    Wrong::plain(
        NAME,
        format!(
            "{why}. Nothing was run, and every variable is as it was. To go on, run `{drops}` in a \
             cell and run this cell again, or have this cell bind {listed} anew; to read what {it}, \
             undo the change first"
        ),
    )
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn go_on(names: &[&str]) -> String {
    format!(
        "take what you need out of {}, run `{}` in a cell, and run this cell again",
        listed(names),
        drops(names)
    )
}

fn drops(names: &[&str]) -> String {
    names.iter().map(|name| format!("drop({name});")).collect::<Vec<_>>().join(" ")
}

/// Says of a name that cannot be found that it was a variable.
pub fn explain_gone(notebook: &Notebook, diagnostic: &mut Diagnostic) {
    let missing = diagnostic.title.strip_prefix("cannot find value `");
    let name = missing.and_then(|rest| rest.split('`').next()).map(str::to_owned);
    let Some((name, gone)) = name.and_then(|name| Some((name.clone(), notebook.gone(&name)?)))
    else {
        return;
    };
    let Gone { how, cell, .. } = gone;
    diagnostic.title = match how {
        How::Moved => format!("the variable `{name}` was moved by cell [{cell}]"),
        How::Ended => {
            format!("the variable `{name}` was lost when its process ended, in cell [{cell}]")
        }
    };
    for mark in diagnostic.marks.iter_mut().filter(|mark| mark.primary) {
        mark.label = "no longer there".into();
    }
    diagnostic.remarks.retain(|(_, text)| !text.contains("similar name"));
    let help = match how {
        How::Moved => format!(
            "bind it anew (`let {name} = ..`), or have that cell use a reference (`&{name}`) or a \
             copy (`{name}.clone()`)"
        ),
        How::Ended => format!("run the cell that made `{name}` again"),
    };
    diagnostic.remarks.push(("help".into(), help));
}

/// What `:restart` did.
pub fn restarted(lost: &[String]) -> String {
    let names: Vec<&str> = lost.iter().map(String::as_str).collect();
    let stay = "Definitions and dependencies stay";
    match &*names {
        [] => format!("the evaluation process was started anew; there were no variables. {stay}"),
        _ => format!(
            "the evaluation process was started anew; {} {} gone. {stay}",
            listed(&names),
            if names.len() == 1 { "is" } else { "are" }
        ),
    }
}

/// What `:clear` did.
pub fn cleared(lost: &[String]) -> String {
    let names: Vec<&str> = lost.iter().map(String::as_str).collect();
    let gone =
        if names.is_empty() { String::new() } else { format!(", {} among them", listed(&names)) };
    format!("all definitions, dependencies and variables are gone{gone}")
}

/// What a cell that failed had moved before it ended.
pub fn note_lost(wrong: &mut Wrong, names: &[String]) {
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let have = if names.len() == 1 { "is" } else { "are" };
        let text = format!("{} {have} gone: the cell moves or replaces the value", listed(&names));
        wrong.traceback.push(format!("  note: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_and_how_to_go_on() {
        let wrong = by_change(&Cause::Crate("tokio".into()), &["a".into(), "b".into()]);
        for part in ["`tokio`", "`a`, `b` may hold values", "Nothing was run", "drop(a); drop(b);"]
        {
            assert!(wrong.value.contains(part), "{part} is not in {}", wrong.value);
        }
        assert!(by_type(&["a".into()]).value.contains("the type of `a` is another"));
        let wrong = by_change(&Cause::File("/m.rs".into()), &["a".into()]);
        assert!(wrong.value.starts_with("the file /m.rs, which"), "{}", wrong.value);
    }
}
