//! What a cell means for the variables, found out before it is compiled.

use crate::cells::insertions::Insertion;
use crate::cells::statements::{self, Binding, Statement};
use crate::evcxr_backend::evcxr_context::EvcxrContext;
use crate::evcxr_backend::variable_errors;
use crate::notebook::conflicts;
use crate::notebook::items::{self, Item};
use crate::notebook::state::Variables;
use crate::protocol::cell_error::CellError;
use crate::rustc::build_inputs::Change;
use crate::rustc::handoff;

pub struct Plan {
    pub statements: Vec<Statement>,
    pub items: Vec<Item>,
    pub bindings: Vec<Binding>,
    pub before: Variables,
    /// Variables whose types the cell redefines. It binds them again without reading them; their old
    /// values are dropped when the new ones are stored, or when the process ends.
    pub replaced: Vec<String>,
    /// Variables that are bound again and not read before. If the cell fails, they keep their values.
    pub untouched: Vec<String>,
    /// The variables of a cell that only drops variables.
    pub dropped: Vec<String>,
    /// Insertions for evcxr.
    pub additions: Vec<Insertion>,
}

impl Plan {
    /// Fails if a variable would become unreadable that the cell does not bind again.
    pub fn make(evcxr: &EvcxrContext, cell: &str, count: u64) -> Result<Self, CellError> {
        let notebook = &evcxr.notebook;
        let statements = statements::of(cell);
        let items = items::of(&statements);
        let bindings = statements::bindings(&statements);
        let before = evcxr.variables();
        let rebound: Vec<&str> = bindings
            .iter()
            .filter(|binding| statements::is_bound_unread(cell, binding))
            .map(|binding| binding.name.as_str())
            .collect();
        let (replaced, lost): (Vec<_>, Vec<_>) = conflicts::find(notebook, &items, &before)
            .into_iter()
            .partition(|conflict| rebound.contains(&conflict.variable.as_str()));
        if !lost.is_empty() {
            return Err(variable_errors::definition_changed(&lost, cell, count));
        }
        let replaced: Vec<String> =
            replaced.into_iter().map(|conflict| conflict.variable).collect();
        let is_untouched =
            |name: &&str| before.contains_key(*name) && !replaced.iter().any(|r| r == name);
        let untouched = rebound.iter().copied().filter(is_untouched).map(str::to_owned).collect();
        let start = statements.first().map_or(cell.len(), |statement| statement.start);
        let assigned = statements::assignments(&statements);
        let mut additions = notebook.redeclarations(&assigned, cell, start);
        if cell[start..].starts_with("::") {
            // evcxr would take the path for a command.
            additions.push(Insertion::before(start, "/**/ "));
        }
        additions.extend(notebook.impl_keys(&statements));
        let call_of_main = statements::call_of_main(&statements);
        additions.extend(call_of_main.map(|call| Insertion::before(cell.len(), call)));
        let mut dropped = statements::drops(cell);
        dropped.dedup();
        if notebook.defines("drop") || dropped.iter().any(|name| !before.contains_key(name)) {
            dropped.clear();
        }
        Ok(Self { statements, items, bindings, before, replaced, untouched, dropped, additions })
    }

    /// The variables that the cell does not bind again, with their types.
    fn kept(&self) -> impl Iterator<Item = (&String, &String)> {
        let rebound = |name: &String| self.replaced.contains(name) || self.untouched.contains(name);
        self.before.iter().filter(move |(name, _)| !rebound(name))
    }

    /// Tells the rustc wrapper which variables the cell does not touch, and what the types of the
    /// others depend on.
    pub fn tell_wrapper(&self, evcxr: &EvcxrContext) -> Result<(), CellError> {
        let needed = self.kept().flat_map(|(_, ty)| evcxr.notebook.dependencies(ty)).collect();
        let untouched: Vec<String> = self.untouched.iter().chain(&self.replaced).cloned().collect();
        evcxr.tell_wrapper(&needed, handoff::UNTOUCHED, &untouched)
    }

    /// The kept variables that may hold values of before the change.
    pub fn affected(&self, evcxr: &EvcxrContext, change: &Change) -> Vec<String> {
        let affected = |ty: &str| change.affects(&evcxr.notebook.dependencies(ty));
        let kept = self.kept().filter(|(_, ty)| affected(ty));
        let mut names: Vec<String> = kept.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }
}
