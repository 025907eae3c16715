//! Cells made ready for evcxr: with the types of their variables in them.

use std::collections::HashMap;

use evcxr::CompilationError;

use crate::cells::completeness::without_commands;
use crate::evcxr_backend::backend::{Evaluator, explain};
use crate::protocol::cell_error::Wrong;
use crate::rustc::type_probes::{self, Insertion, Named};

impl Evaluator {
    /// The code with additions, and with the types of its variables in it.
    ///
    /// # Errors
    /// Where the cell does not compile, or a variable's type cannot be written down.
    pub fn with_types(
        &mut self,
        code: &str,
        additions: &[Insertion],
        count: u64,
    ) -> Result<(String, Vec<Insertion>), Wrong> {
        let prepared = type_probes::inserted(code, additions);
        let places = type_probes::places(&without_commands(&prepared));
        if places.is_empty() {
            return Ok((prepared, additions.to_vec()));
        }
        let probing = type_probes::probing(&prepared, &places);
        let errors = match self.context.check(&probing) {
            Ok(errors) => errors,
            Err(trouble) => return Err(Wrong::plain("Error", explain(&trouble))),
        };
        let (mut types, mut nameless, mut wrong) = (HashMap::new(), vec![], vec![]);
        for error in errors {
            let line = error.json["spans"][0]["text"][0]["text"].as_str().unwrap_or_default();
            if error.message().starts_with(type_probes::COMPLAINT) {
                match type_probes::named(&error.message(), line) {
                    Some((name, Named::Type(ty))) => _ = types.insert(name, ty),
                    Some((name, Named::Nameless(ty))) => nameless.push((name, ty)),
                    None => {}
                }
            } else if error.level() == "error" && in_code(&error, &prepared) {
                wrong.push(error);
            }
        }
        if !wrong.is_empty() {
            return Err(self.rejected(&wrong, &probing, code, additions, count));
        }
        if let Some((name, ty)) = nameless.first() {
            let place = places.iter().find(|place| place.name == *name);
            let at = place.map(|place| type_probes::original(additions, place.at));
            return Err(Wrong::nameless(name, ty, at, code, count));
        }
        let own = type_probes::insertions(&places, &types);
        Ok((type_probes::inserted(&prepared, &own), type_probes::combined(additions, own)))
    }
}

/// Whether an error is about the user's code rather than about what was put behind it.
fn in_code(error: &CompilationError, code: &str) -> bool {
    let lines = code.lines().count();
    let spans = error.spanned_messages();
    error.is_from_user_code()
        && (spans.is_empty()
            || spans.iter().any(|s| s.span.is_some_and(|span| span.start_line <= lines)))
}
