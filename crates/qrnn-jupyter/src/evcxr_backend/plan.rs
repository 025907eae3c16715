//! What a cell means for the variables: planned before it is compiled, settled after it has run.

use std::collections::BTreeSet;

use evcxr::{CommandContext, Error as Trouble};

use crate::cells::commands::{self, Emptying};
use crate::cells::statements::{self, Binding, Statement};
use crate::evcxr_backend::backend::{Evaluator, explain, prepare};
use crate::evcxr_backend::variable_errors;
use crate::notebook::items::{self, Item};
use crate::notebook::state::{How, Variables};
use crate::protocol::cell_error::Wrong;
use crate::rustc::build_inputs;
use crate::rustc::build_inputs::Cause;
use crate::rustc::generated_code;
use crate::rustc::type_probes::Insertion;
use crate::rustc::wrapper;

/// A cell, and what has to be done for it.
#[derive(Debug)]
pub struct Plan {
    statements: Vec<Statement>,
    items: Vec<Item>,
    bindings: Vec<Binding>,
    before: Variables,
    /// Of types that the cell defines otherwise; it binds them anew without reading them. What they
    /// hold goes when the new value is stored, or with the process.
    replaced: Vec<String>,
    /// Bound anew and not read before: where the cell fails, they are what they were.
    untouched: Vec<String>,
    /// The variables that the cell is nothing but drops of.
    pub dropped: Vec<String>,
    /// What evcxr gets beside the cell's own text.
    pub additions: Vec<Insertion>,
}

impl Plan {
    /// The variables that the cell does not bind anew.
    fn kept(&self) -> impl Iterator<Item = (&String, &String)> {
        let anew = |name: &String| self.replaced.contains(name) || self.untouched.contains(name);
        self.before.iter().filter(move |(name, _)| !anew(name))
    }
}

/// The variables that evcxr knows.
pub fn variables(context: &CommandContext) -> Variables {
    context.variables_and_types().map(|(name, ty)| (name.to_owned(), ty.to_owned())).collect()
}

impl Evaluator {
    /// # Errors
    /// Where the cell would lose a variable that it does not bind anew.
    pub fn plan(&self, code: &str, count: u64) -> Result<Plan, Wrong> {
        let statements = statements::of(code);
        let items = items::of(&statements);
        let bindings = statements::bindings(&statements);
        let before = variables(&self.context);
        let anew: Vec<&str> = bindings
            .iter()
            .filter(|binding| statements::is_bound_unread(code, binding))
            .map(|binding| binding.name.as_str())
            .collect();
        let losses = self.notebook.losses(&items, &before);
        let (replaced, lost): (Vec<_>, Vec<_>) =
            losses.into_iter().partition(|loss| anew.contains(&loss.variable.as_str()));
        if !lost.is_empty() {
            return Err(variable_errors::by_definition(&lost, code, count));
        }
        let replaced: Vec<String> = replaced.into_iter().map(|loss| loss.variable).collect();
        let is_untouched =
            |name: &&str| before.contains_key(*name) && !replaced.iter().any(|r| r == name);
        let untouched = anew.iter().copied().filter(is_untouched).map(str::to_owned).collect();
        let start = statements.first().map_or(code.len(), |statement| statement.start);
        let assigned = statements::assignments(&statements);
        let mut additions = self.notebook.revivals(&assigned, code, start);
        if code[start..].starts_with("::") {
            // evcxr would take it for a command.
            additions.push(Insertion { at: start, replaced: 0, text: "/**/ ".into() });
        }
        additions.extend(self.notebook.keyed_blocks(&statements));
        additions.extend(statements::call_of_main(&statements).map(|text| Insertion {
            at: code.len(),
            replaced: 0,
            text,
        }));
        let mut dropped = statements::drops(code);
        dropped.dedup();
        if self.notebook.defines("drop") || dropped.iter().any(|name| !before.contains_key(name)) {
            dropped.clear();
        }
        Ok(Plan { statements, items, bindings, before, replaced, untouched, dropped, additions })
    }

    /// Tells the compiler step which variables are not touched, and what the others may hold.
    ///
    /// # Errors
    /// Where the session's folder cannot be written.
    pub fn prepare(&self, plan: &Plan) -> Result<(), Wrong> {
        let held = plan.kept().flat_map(|(_, ty)| self.notebook.reached(ty)).collect();
        let untouched: Vec<String> = plan.untouched.iter().chain(&plan.replaced).cloned().collect();
        self.tell_compiler(&held, wrapper::UNTOUCHED, &untouched)
    }

    fn tell_compiler(
        &self,
        held: &BTreeSet<String>,
        file: &str,
        names: &[String],
    ) -> Result<(), Wrong> {
        let folder = self.session.folder();
        let written = build_inputs::hold(folder, held.iter())
            .and_then(|()| std::fs::write(folder.join(file), names.join("\n")));
        written.map_err(|trouble| {
            Wrong::plain("KernelError", format!("cannot write {}: {trouble}", folder.display()))
        })
    }

    /// The variables that may hold values of before a change, and that the cell does not bind anew.
    pub fn holding(&self, plan: &Plan, cause: &Cause) -> Vec<String> {
        let kept = plan.kept().filter(|(_, ty)| cause.is_in(&self.notebook.reached(ty)));
        let mut names: Vec<String> = kept.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Drops variables that cannot be read any more, by the code that made them.
    ///
    /// # Errors
    /// Where a crate of the notebook cannot be compiled at all.
    pub fn discard(&mut self, names: &[String], count: u64) -> Result<Vec<String>, Wrong> {
        let before = variables(&self.context);
        // Nothing is read, so nothing is held.
        self.tell_compiler(&BTreeSet::new(), wrapper::DISCARDED, names)?;
        let drops: Vec<String> =
            names.iter().map(|name| format!("{}{name}));", generated_code::DISCARDING)).collect();
        let Self { context, output, .. } = self;
        let result = output.keeping(|| context.execute(&drops.join("\n")));
        let _ = std::fs::write(self.session.folder().join(wrapper::DISCARDED), "");
        match result {
            Ok(_) => {}
            Err(Trouble::SubprocessTerminated(status)) => {
                self.output.settle();
                let after = variables(&self.context);
                self.notebook.settle(&[], &before, &after, &How::Ended, count);
                return Err(Wrong::death(&status));
            }
            Err(trouble) => return Err(Wrong::plain("Error", explain(&trouble))),
        }
        let after = variables(&self.context);
        Ok(self.notebook.settle(&[], &before, &after, &How::Moved, count))
    }

    /// Takes note of what the cell defined and of the variables that it lost, whose names it gives.
    pub fn settle<T>(
        &mut self,
        plan: &Plan,
        count: u64,
        result: &Result<T, Trouble>,
    ) -> Vec<String> {
        let after = variables(&self.context);
        let died = matches!(result, Err(Trouble::SubprocessTerminated(_)));
        let failed = self.output.has_failed() || self.output.was_held_back();
        let folder = self.session.folder();
        let _ = std::fs::write(folder.join(wrapper::UNTOUCHED), "");
        // Of a failed cell's old values, those of an earlier build are not to be read.
        let changed = if failed { build_inputs::differences(folder) } else { vec![] };
        if result.is_ok() {
            build_inputs::accept(folder);
            self.notebook.know_crates(build_inputs::crates(folder));
        }
        if failed && !died {
            let all = self.output.was_held_back();
            self.restore(plan, &after, all, &changed);
        }
        let how = if died { How::Ended } else { How::Moved };
        if result.is_ok() {
            self.notebook.define(plan.items.clone(), &plan.statements);
        }
        let after = variables(&self.context);
        let bound: &[Binding] = if failed || result.is_err() { &[] } else { &plan.bindings };
        self.notebook.settle(bound, &plan.before, &after, &how, count)
    }

    /// Ends the evaluation process and starts another. evcxr's own `:restart` goes on to count on the
    /// variables, and the next cell would die of their absence.
    ///
    /// # Errors
    /// Where no other process can be started.
    fn restart(&mut self, count: u64) -> Result<Vec<String>, Wrong> {
        let before = variables(&self.context);
        let handle = self.context.process_handle();
        let kill = |child: &mut std::process::Child| child.kill();
        let killed = handle.lock().map(|mut child| kill(&mut child));
        if !matches!(killed, Ok(Ok(()))) {
            return Err(Wrong::plain("KernelError", "the process cannot be ended".into()));
        }
        let Self { context, output, .. } = self;
        // It finds the process gone, which is how evcxr comes to start another.
        match output.keeping(|| context.execute("{}")) {
            Err(Trouble::SubprocessTerminated(_)) => output.settle(),
            Err(trouble) => return Err(Wrong::plain("KernelError", trouble.to_string())),
            Ok(_) => {}
        }
        let after = variables(&self.context);
        Ok(self.notebook.settle(&[], &before, &after, &How::Ended, count))
    }

    /// Forgets variables, definitions and dependencies, and says what each cell needs again.
    ///
    /// # Errors
    /// Where no other process can be started.
    fn clear(&mut self, count: u64) -> Result<Vec<String>, Wrong> {
        let before = variables(&self.context);
        let cleared = self.context.execute(":clear").and_then(|_| prepare(&mut self.context));
        cleared.map_err(|trouble| Wrong::plain("KernelError", trouble.to_string()))?;
        let lost =
            self.notebook.settle(&[], &before, &variables(&self.context), &How::Ended, count);
        self.notebook.clear();
        Ok(lost)
    }

    /// The cell with `:restart` and `:clear` done, where it asks for them, and the commands before them;
    /// their lines are left empty.
    ///
    /// # Errors
    /// Where a command before it fails, or no other process can be started.
    pub fn with_restarts(&mut self, cell: &str, count: u64) -> Result<String, Wrong> {
        let mut cell = cell.to_owned();
        while let Some((asked, start, end)) = commands::emptying(&cell) {
            let before = cell[..start].to_owned();
            // They read no variable, and soon there are none.
            let _ = build_inputs::hold(self.session.folder(), std::iter::empty());
            let compiled = self.context.execute(&before);
            if let Err(trouble) = compiled {
                return Err(match trouble {
                    Trouble::CompilationErrors(errors) => {
                        self.rejected(&errors, &before, &cell, &[], count)
                    }
                    trouble => Wrong::plain("Error", trouble.to_string()),
                });
            }
            let text = match asked {
                Emptying::Restart => variable_errors::restarted(&self.restart(count)?),
                Emptying::Clear => variable_errors::cleared(&self.clear(count)?),
            };
            self.output.show(vec![("text/plain".into(), text)]);
            cell = commands::blank(&cell[..end]) + &cell[end..];
        }
        Ok(cell)
    }

    /// evcxr forgets each variable that a failed cell was to bind, an earlier one of that name
    /// included, which is in the store still.
    fn restore(&mut self, plan: &Plan, after: &Variables, all: bool, changed: &[Cause]) {
        // Under a new definition an old value must not be read.
        let stored =
            |name: &&String| plan.untouched.contains(name) || all && !plan.replaced.contains(name);
        let lost = plan.before.keys().filter(|name| !after.contains_key(*name)).filter(stored);
        let readable = lost.filter(|name| {
            let reached = self.notebook.reached(&plan.before[*name]);
            !changed.iter().any(|cause| cause.is_in(&reached))
        });
        let readable: Vec<&String> = readable.collect();
        let takes: Vec<String> = readable
            .iter()
            .map(|name| {
                let keyword = if self.notebook.is_mutable(name) { "mut " } else { "" };
                let ty = &plan.before[*name];
                format!(
                    "let {keyword}{name}: {ty} = \
                     evcxr_variable_store.take_variable::<{ty}>(stringify!({name}));"
                )
            })
            .collect();
        if takes.is_empty() {
            return;
        }
        let there = after.iter().chain(readable.iter().map(|name| (*name, &plan.before[*name])));
        let held = there.flat_map(|(_, ty)| self.notebook.reached(ty)).collect();
        if self.tell_compiler(&held, wrapper::UNTOUCHED, &[]).is_err() {
            return;
        }
        let Self { context, output, .. } = self;
        // Where the store has lost one, it stays lost, and is named as such.
        if output.keeping(|| context.execute(&takes.join(" "))).is_ok() {
            build_inputs::accept(self.session.folder());
        }
    }
}
