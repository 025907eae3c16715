//! The commands `:restart` and `:clear`.

use std::collections::BTreeSet;

use evcxr::Error as EvcxrError;

use crate::cells::commands::{Reset, blank, first_reset};
use crate::evcxr_backend::evcxr_context::EvcxrContext;
use crate::evcxr_backend::variable_errors;
use crate::notebook::state::{LostBy, Notebook};
use crate::protocol::cell_error::CellError;
use crate::rustc::build_inputs;
use crate::rustc::compiled_cell::CompiledCell;

impl EvcxrContext {
    /// Executes the resets in a cell, and the commands before them. Returns the cell with these
    /// lines blanked out.
    pub fn execute_resets(&mut self, cell: &str, count: u64) -> Result<String, CellError> {
        let mut cell = cell.to_owned();
        while let Some((reset, start, end)) = first_reset(&cell) {
            let before = &cell[..start];
            // The commands read no variable.
            let _ = build_inputs::set_needed(self.workdir.path(), &BTreeSet::new());
            self.context.execute(before).map_err(|error| match error {
                EvcxrError::CompilationErrors(errors) => {
                    let (cell, code) = (cell.clone(), before.to_owned());
                    let compiled = CompiledCell { cell, code, insertions: vec![], count };
                    self.compile_error(&errors, &compiled)
                }
                error => CellError::plain("Error", error.to_string()),
            })?;
            let text = match reset {
                Reset::Restart => variable_errors::restarted(&self.restart(count)?),
                Reset::Clear => variable_errors::cleared(&self.clear(count)?),
            };
            self.streams.show(vec![("text/plain".into(), text)]);
            cell = blank(&cell[..end]) + &cell[end..];
        }
        Ok(cell)
    }

    /// Ends the child process and starts another. After evcxr's own `:restart`, evcxr would still
    /// expect the variables, and the next cell would fail.
    fn restart(&mut self, count: u64) -> Result<Vec<String>, CellError> {
        let before = self.variables();
        let handle = self.context.process_handle();
        let killed = handle.lock().map(|mut child| child.kill());
        if !matches!(killed, Ok(Ok(()))) {
            return Err(CellError::kernel("the process that runs cells cannot be ended"));
        }
        // evcxr starts another process when it notices the end of this one.
        match self.execute_restoring("{}") {
            Err(EvcxrError::SubprocessTerminated(_)) => self.streams.drain(),
            Err(error) => return Err(CellError::kernel(error.to_string())),
            Ok(_) => {}
        }
        Ok(self.record_lost(&before, LostBy::ProcessEnd, count))
    }

    /// Forgets variables, definitions and dependencies.
    fn clear(&mut self, count: u64) -> Result<Vec<String>, CellError> {
        let before = self.variables();
        let cleared = self.context.execute(":clear").and_then(|_| self.prepare());
        cleared.map_err(|error| CellError::kernel(error.to_string()))?;
        let lost = self.record_lost(&before, LostBy::ProcessEnd, count);
        self.notebook = Notebook::default();
        Ok(lost)
    }
}
