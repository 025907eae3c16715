//! The variables after a cell: recorded, restored, or dropped.

use std::collections::BTreeSet;

use evcxr::Error as EvcxrError;

use crate::cells::statements::Binding;
use crate::evcxr_backend::evcxr_context::{EvcxrContext, explain};
use crate::evcxr_backend::plan::Plan;
use crate::notebook::state::{LostBy, Variables};
use crate::protocol::cell_error::CellError;
use crate::rustc::build_inputs::{self, Change};
use crate::rustc::{generated_code, handoff};

impl EvcxrContext {
    /// Records what the cell has defined, and returns the variables that it lost.
    pub fn settle<T>(
        &mut self,
        plan: &Plan,
        count: u64,
        result: &Result<T, EvcxrError>,
    ) -> Vec<String> {
        let died = matches!(result, Err(EvcxrError::SubprocessTerminated(_)));
        let failed = self.streams.has_failed() || self.streams.was_prevented();
        let workdir = self.workdir.clone();
        let workdir = workdir.path();
        let _ = std::fs::write(workdir.join(handoff::UNTOUCHED), "");
        // After a failed cell, old values of an earlier build must not be read.
        let changes = if failed { build_inputs::changes(workdir) } else { vec![] };
        if result.is_ok() {
            build_inputs::accept(workdir);
            self.notebook.crates = build_inputs::crates(workdir);
        }
        if failed && !died {
            self.restore(plan, &changes);
        }
        if result.is_ok() {
            self.notebook.define(plan.items.clone(), &plan.statements);
        }
        let by = if died { LostBy::ProcessEnd } else { LostBy::Move };
        let after = self.variables();
        let bound: &[Binding] = if failed || result.is_err() { &[] } else { &plan.bindings };
        self.notebook.record_variables(bound, &plan.before, &after, by, count)
    }

    /// Gives evcxr variables back that it forgot because a failed cell was to bind them again. Their
    /// earlier values are still in the store.
    fn restore(&mut self, plan: &Plan, changes: &[Change]) {
        let after = self.variables();
        let all = self.streams.was_prevented();
        // The value of a redefined type must not be read.
        let is_stored =
            |name: &String| plan.untouched.contains(name) || all && !plan.replaced.contains(name);
        let is_readable = |ty: &str| {
            let dependencies = self.notebook.dependencies(ty);
            !changes.iter().any(|change| change.affects(&dependencies))
        };
        let forgotten = plan.before.iter().filter(|(name, _)| !after.contains_key(*name));
        let restored: Variables = forgotten
            .filter(|(name, ty)| is_stored(name) && is_readable(ty))
            .map(|(name, ty)| (name.clone(), ty.clone()))
            .collect();
        if restored.is_empty() {
            return;
        }
        let takes = restored.iter().map(|(name, ty)| {
            let keyword = if self.notebook.is_mutable(name) { "mut " } else { "" };
            format!(
                "let {keyword}{name}: {ty} = \
                 evcxr_variable_store.take_variable::<{ty}>(stringify!({name}));"
            )
        });
        let takes = takes.collect::<Vec<_>>().join(" ");
        let types = after.values().chain(restored.values());
        let needed = types.flat_map(|ty| self.notebook.dependencies(ty)).collect();
        if self.tell_wrapper(&needed, handoff::UNTOUCHED, &[]).is_err() {
            return;
        }
        // A variable that is not in the store stays lost.
        if self.execute_restoring(&takes).is_ok() {
            build_inputs::accept(self.workdir.path());
        }
    }

    /// Drops variables that cannot be read any more, with the code that made them. Fails if a crate
    /// of the notebook does not compile.
    pub fn discard(&mut self, names: &[String], count: u64) -> Result<Vec<String>, CellError> {
        let before = self.variables();
        self.tell_wrapper(&BTreeSet::new(), handoff::DISCARDED, names)?;
        let drops = names.iter().map(|name| format!("{}{name}));", generated_code::DISCARD));
        let drops = drops.collect::<Vec<_>>().join("\n");
        let result = self.execute_restoring(&drops);
        let _ = std::fs::write(self.workdir.path().join(handoff::DISCARDED), "");
        match result {
            Ok(_) => Ok(self.record_lost(&before, LostBy::Move, count)),
            Err(EvcxrError::SubprocessTerminated(status)) => {
                self.streams.drain();
                self.record_lost(&before, LostBy::ProcessEnd, count);
                Err(CellError::process_ended(&status))
            }
            Err(error) => Err(CellError::plain("Error", explain(&error))),
        }
    }
}
