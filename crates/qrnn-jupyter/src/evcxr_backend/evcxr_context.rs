//! evcxr with its output, its workdir, and the definitions of the notebook.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use evcxr::{CommandContext, CompilationError, Error as EvcxrError, EvalContext, EvalOutputs};

use crate::child::cell_output::CellOutput;
use crate::child::launch;
use crate::child::streams::Streams;
use crate::child::workdir::Workdir;
use crate::error::{Error, Result};
use crate::evcxr_backend::variable_errors;
use crate::notebook::state::{LostBy, Notebook, Variables};
use crate::protocol::cell_error::CellError;
use crate::rustc::compiled_cell::CompiledCell;
use crate::rustc::{build_inputs, compile_error};
use crate::toolchain::preload::Preload;
use crate::toolchain::rustc_info;

/// Runs before the first cell and after `:clear`. Rust's own linker, lld, is faster than the one
/// that evcxr may have found. The second line imports what cells need, and uses `?`: evcxr would
/// otherwise compile the first cell with `?` twice.
const PREPARATION: [&str; 2] =
    [":linker system", "use qrnn_preload::cell::*; Ok::<(), std::fmt::Error>(())?;"];

pub struct EvcxrContext {
    pub context: CommandContext,
    pub streams: Streams,
    pub workdir: Arc<Workdir>,
    pub notebook: Notebook,
}

impl EvcxrContext {
    /// Starts the child process and prepares evcxr. The thread must live as long as the child: the
    /// system kills a child with the thread that started it.
    pub fn start(program: &Path, output: CellOutput, workdir: Arc<Workdir>) -> Result<Self> {
        let (mut command, pipes) = launch::command(program)?;
        output.stdin.attach(pipes.stdin);
        let streams = Streams::start(output, [pipes.stdout, pipes.stderr], pipes.acknowledgements)
            .map_err(Error::system("read the output of cells"))?;
        let preload = Preload::find(program)?;
        rustc_info::load(&preload, workdir.path());
        // evcxr starts in the workdir, because it would read an evcxr.toml next to the notebook.
        // Cells run next to the notebook.
        let beside_notebook = std::env::current_dir().ok();
        if let Some(folder) = &beside_notebook {
            command.current_dir(folder);
            let _ = std::env::set_current_dir(workdir.path());
        }
        let started = EvalContext::with_subprocess_command(command);
        if let Some(folder) = &beside_notebook {
            let _ = std::env::set_current_dir(folder);
        }
        let (context, _outputs) = started.map_err(|error| Error::Evcxr(error.to_string()))?;
        let context = CommandContext::with_eval_context(context);
        let mut evcxr = Self { context, streams, workdir, notebook: Notebook::default() };
        evcxr.prepare().map_err(|error| Error::Evcxr(explain(&error)))?;
        rustc_info::store(&preload, evcxr.workdir.path());
        evcxr.record_processes();
        Ok(evcxr)
    }

    pub fn prepare(&mut self) -> std::result::Result<(), EvcxrError> {
        PREPARATION.into_iter().try_for_each(|code| self.context.execute(code).map(drop))
    }

    /// evcxr's commands: `:dep`, `:help`, ..
    pub fn commands(&mut self) -> Vec<String> {
        let found = self.context.completions(":", 1).map(|found| found.completions);
        let mut commands: Vec<_> =
            found.into_iter().flatten().map(|command| command.code).collect();
        commands.sort();
        commands
    }

    /// The child process.
    pub fn process(&self) -> u32 {
        let handle = self.context.process_handle();
        handle.lock().map_or_else(|poisoned| poisoned.into_inner().id(), |child| child.id())
    }

    pub fn record_processes(&self) {
        self.workdir.record_processes(self.process());
    }

    pub fn variables(&self) -> Variables {
        let all = self.context.variables_and_types();
        all.map(|(name, ty)| (name.to_owned(), ty.to_owned())).collect()
    }

    /// Records the variables that are lost since `before`, and returns them.
    pub fn record_lost(&mut self, before: &Variables, by: LostBy, count: u64) -> Vec<String> {
        let after = self.variables();
        self.notebook.record_variables(&[], before, &after, by, count)
    }

    /// Tells the rustc wrapper what the variables' types depend on, and the variables for one of the
    /// files in [`crate::rustc::handoff`].
    pub fn tell_wrapper(
        &self,
        needed: &BTreeSet<String>,
        file: &str,
        names: &[String],
    ) -> std::result::Result<(), CellError> {
        let workdir = self.workdir.path();
        let written = build_inputs::set_needed(workdir, needed)
            .and_then(|()| std::fs::write(workdir.join(file), names.join("\n")));
        written.map_err(|error| {
            CellError::kernel(format!("cannot write to {}: {error}", workdir.display()))
        })
    }

    /// Runs code of the kernel, which the user must not notice.
    pub fn execute_restoring(
        &mut self,
        code: &str,
    ) -> std::result::Result<EvalOutputs, EvcxrError> {
        let Self { context, streams, .. } = self;
        streams.restoring(|| context.execute(code))
    }

    pub fn compile_error(&self, errors: &[CompilationError], compiled: &CompiledCell) -> CellError {
        let explain =
            |diagnostic: &mut _| variable_errors::explain_lost(&self.notebook, diagnostic);
        compile_error::from_evcxr(errors, compiled, explain)
    }
}

/// rustc's messages, or evcxr's.
pub fn explain(error: &EvcxrError) -> String {
    match error {
        EvcxrError::CompilationErrors(errors) => {
            let rendered = errors.iter().map(|error| match error.rendered() {
                rendered if rendered.is_empty() => error.message(),
                rendered => rendered,
            });
            rendered.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}
