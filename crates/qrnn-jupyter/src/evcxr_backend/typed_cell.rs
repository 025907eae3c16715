//! Writes the types of a cell's variables into its code.

use std::collections::HashMap;

use evcxr::CompilationError;

use crate::cells::insertions::{Insertion, combine, insert, original};
use crate::evcxr_backend::evcxr_context::{EvcxrContext, explain};
use crate::protocol::cell_error::CellError;
use crate::rustc::compile_error;
use crate::rustc::compiled_cell::CompiledCell;
use crate::rustc::type_probes::{self, Answer};

/// The cell with `additions` and types. Fails if it does not compile, or a type has no name.
pub fn insert_types(
    evcxr: &mut EvcxrContext,
    cell: &str,
    additions: &[Insertion],
    count: u64,
) -> Result<CompiledCell, CellError> {
    let compiled =
        |code, insertions| CompiledCell { cell: cell.to_owned(), code, insertions, count };
    let prepared = insert(cell, additions);
    let variables = type_probes::untyped_variables(&prepared);
    if variables.is_empty() {
        return Ok(compiled(prepared, additions.to_vec()));
    }
    let probed = type_probes::with_probes(&prepared, &variables);
    let messages = evcxr.context.check(&probed);
    let messages = messages.map_err(|error| CellError::plain("Error", explain(&error)))?;
    let (mut types, mut nameless, mut errors) = (HashMap::new(), None, vec![]);
    for message in messages {
        let line = message.json["spans"][0]["text"][0]["text"].as_str().unwrap_or_default();
        if message.message().starts_with(type_probes::MESSAGE) {
            match type_probes::parse_answer(&message.message(), line) {
                Some((name, Answer::Type(ty))) => _ = types.insert(name, ty),
                Some((name, Answer::Nameless(ty))) => _ = nameless.get_or_insert((name, ty)),
                None => {}
            }
        } else if message.level() == "error" && is_about(&message, &prepared) {
            errors.push(message);
        }
    }
    if !errors.is_empty() {
        return Err(evcxr.compile_error(&errors, &compiled(probed, additions.to_vec())));
    }
    if let Some((name, ty)) = nameless {
        let variable = variables.iter().find(|variable| variable.name == name);
        let at = variable.map(|variable| original(additions, variable.at));
        return Err(compile_error::nameless_type(&name, &ty, at, cell, count));
    }
    let typed = type_probes::insertions(&variables, &types);
    Ok(compiled(insert(&prepared, &typed), combine(additions, typed)))
}

/// Whether an error is about the code, not about the probes behind it.
fn is_about(error: &CompilationError, code: &str) -> bool {
    let lines = code.lines().count();
    let spans = error.spanned_messages();
    error.is_from_user_code()
        && (spans.is_empty()
            || spans.iter().any(|s| s.span.is_some_and(|span| span.start_line <= lines)))
}
