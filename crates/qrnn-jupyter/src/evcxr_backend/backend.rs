//! Runs a cell and reports its outcome.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use evcxr::{Error as EvcxrError, EvalCallbacks, EvalOutputs};

use crate::cells::{commands, preloaded_crates};
use crate::child::cell_output::{CellOutput, Location, Report, Representations};
use crate::child::interrupt::interrupter::{InterruptOutcome, Interrupter};
use crate::child::stdin::StdinChannel;
use crate::child::workdir::Workdir;
use crate::env_vars;
use crate::error::Result;
use crate::evcxr_backend::evcxr_context::EvcxrContext;
use crate::evcxr_backend::plan::Plan;
use crate::evcxr_backend::{typed_cell, variable_errors};
use crate::protocol::cell_error::CellError;
use crate::protocol::iopub::Publisher;
use crate::protocol::message::Request;
use crate::rust_analyzer::service::ServiceHandle;
use crate::rustc::build_inputs::Change;
use crate::rustc::compile_error;
use crate::rustc::compiled_cell::{CompiledCell, cell_name};
use crate::rustc::diagnostic::Diagnostic;
use crate::rustc::source_map::SourceMap;
use crate::rustc::syntax_check;

/// How a cell ended. A cell without an error may have something for a pager.
pub type Outcome = std::result::Result<Representations, CellError>;

/// The channels and handles that a backend needs.
#[derive(Clone)]
pub struct Connections {
    pub publisher: Publisher,
    pub stdin: Arc<StdinChannel>,
    pub interrupter: Arc<Interrupter>,
    pub analysis: ServiceHandle,
}

pub struct Backend {
    evcxr: EvcxrContext,
    connections: Connections,
    /// The variables that the running cell lost.
    lost: Vec<String>,
    /// The running cell.
    compiled: CompiledCell,
    /// The file that was compiled for it.
    compiled_file: String,
}

impl Backend {
    pub fn start(program: &Path, workdir: Arc<Workdir>, connections: Connections) -> Result<Self> {
        let output = CellOutput {
            cell: Default::default(),
            publisher: connections.publisher.clone(),
            stdin: connections.stdin.clone(),
            interrupter: connections.interrupter.clone(),
        };
        let mut evcxr = EvcxrContext::start(program, output, workdir)?;
        connections.analysis.set_commands(evcxr.commands());
        let (lost, compiled, compiled_file) = Default::default();
        Ok(Self { evcxr, connections, lost, compiled, compiled_file })
    }

    /// Runs a cell; all its output is sent when this returns. Returns `None` if the shell no longer
    /// waits for it. `cell` is the interrupter's number.
    pub fn execute(
        &mut self,
        request: &Request,
        code: &str,
        count: u64,
        silent: bool,
        cell: u64,
    ) -> Option<Outcome> {
        let process = self.evcxr.process();
        if !self.connections.interrupter.begin(cell, process) {
            return None;
        }
        self.connections.stdin.begin(request, process);
        self.evcxr.streams.begin(&request.header, count, silent);
        // evcxr may panic; the kernel must survive.
        let result = catch_unwind(AssertUnwindSafe(|| self.evaluate(code, count)));
        let interrupt = self.connections.interrupter.end();
        let report = self.evcxr.streams.end();
        let defined = matches!(result, Ok(Ok(_))).then_some(code);
        self.connections.analysis.cell_ran(defined, self.evcxr.context.variables_and_types());
        let outcome = match result {
            Ok(Ok(_)) if interrupt.prevented => Err(CellError::interrupted()),
            Ok(Ok(paged)) => match self.error_in(report, code, count) {
                Some(error) => Err(explain_interrupt(error, interrupt)),
                None => Ok(paged),
            },
            Ok(Err(error)) => Err(explain_interrupt(error, interrupt)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                Err(CellError::kernel(format!("evcxr panicked: {}", text.unwrap_or("no message"))))
            }
        };
        self.evcxr.record_processes();
        Some(outcome)
    }

    /// Compiles and runs a cell.
    fn evaluate(&mut self, code: &str, count: u64) -> Outcome {
        let library = std::env::var_os(env_vars::PRELOAD).unwrap_or_default();
        for note in preloaded_crates::notes(code, Path::new(&library)) {
            self.evcxr.streams.note(&note);
        }
        let cell = preloaded_crates::without_preloaded(code);
        self.lost.clear();
        let errors = syntax_check::errors(&cell, self.evcxr.workdir.path());
        if !errors.is_empty() {
            return Err(compile_error::drawn("CompileError", &errors, &cell, count));
        }
        let cell = self.evcxr.execute_resets(&cell, count)?;
        let plan = Plan::make(&self.evcxr, &cell, count)?;
        let compiled = typed_cell::insert_types(&mut self.evcxr, &cell, &plan.additions, count)?;
        plan.tell_wrapper(&self.evcxr)?;
        self.compiled = compiled.clone();
        if self.connections.interrupter.is_interrupted() {
            return Err(CellError::interrupted());
        }
        let Self { evcxr, .. } = self;
        evcxr.streams.set_compiled(compiled.clone(), evcxr.workdir.path());
        let result =
            evcxr.context.execute_with_callbacks(&compiled.code, &mut EvalCallbacks::default());
        self.compiled_file = evcxr.context.last_source().unwrap_or_default();
        if let Some(refusal) = refusal(evcxr, &plan, &result) {
            evcxr.settle(&plan, count, &result);
            // Drops are what the refusal tells the user to run.
            if plan.dropped.is_empty() {
                return Err(refusal);
            }
            // What runs now is not the compiled file.
            self.compiled_file.clear();
            self.lost = evcxr.discard(&plan.dropped, count)?;
            return Ok(vec![]);
        }
        self.lost = evcxr.settle(&plan, count, &result);
        match result {
            Ok(outputs) => {
                let shown = representations(outputs);
                if commands::is_help(code) {
                    return Ok(shown);
                }
                if !shown.is_empty() {
                    evcxr.streams.show(shown);
                }
                Ok(vec![])
            }
            Err(EvcxrError::CompilationErrors(errors)) => {
                Err(evcxr.compile_error(&errors, &compiled))
            }
            Err(EvcxrError::SubprocessTerminated(status)) => {
                evcxr.streams.drain();
                Err(CellError::process_ended(&status))
            }
            Err(error) => Err(CellError::plain("Error", error.to_string())),
        }
    }

    /// The error of a cell whose code has ended.
    fn error_in(&self, report: Report, code: &str, count: u64) -> Option<CellError> {
        let (name, text, title, at) = if let Some(panic) = report.panic {
            let title = format!("the cell panicked: {}", panic.text);
            ("Panic".to_owned(), panic.text, title, panic.at)
        } else {
            let failure = report.failure?;
            let name = short_name(&failure.type_name);
            let title = format!("{name}: {}", failure.text);
            (name, failure.text, title, failure.at)
        };
        let byte = at.as_ref().and_then(|location| self.byte_in_cell(location));
        let diagnostic = Diagnostic::at(&title, byte, code, "here");
        let mut traceback = vec![diagnostic.render(code, &cell_name(count))];
        if byte.is_none()
            && let Some(Location { file, line, column }) = at.filter(|at| !is_cell(&at.file))
        {
            traceback.push(format!("  at {file}:{line}:{column}"));
        }
        let mut error = CellError { name, value: text, traceback };
        variable_errors::note_lost(&mut error, &self.lost);
        Some(error)
    }

    fn byte_in_cell(&self, location: &Location) -> Option<usize> {
        if !is_cell(&location.file) {
            return None;
        }
        let map = SourceMap::new(&self.compiled.code, &self.compiled_file);
        Some(self.compiled.original(map.byte(location.line, location.column)?))
    }
}

/// The error of a cell that did not run because variables hold values of before a change.
fn refusal<T>(
    evcxr: &EvcxrContext,
    plan: &Plan,
    result: &std::result::Result<T, EvcxrError>,
) -> Option<CellError> {
    match result {
        Err(EvcxrError::CompilationErrors(errors)) => {
            // Warnings of a rebuilt crate may come first.
            let change = errors.iter().find_map(|error| Change::parse(&error.message()))?;
            Some(variable_errors::input_changed(&change, &plan.affected(evcxr, &change)))
        }
        Err(EvcxrError::SubprocessTerminated(_)) | Ok(_) => None,
        Err(_) => {
            let names = evcxr.streams.take_changed();
            (!names.is_empty()).then(|| variable_errors::type_changed(&names))
        }
    }
}

/// `:type` has its text as HTML too, which is not needed.
fn representations(outputs: EvalOutputs) -> Representations {
    let mut all = outputs.content_by_mime_type;
    if all.get("text/html") == all.get("text/plain") {
        all.remove("text/html");
    }
    all.into_iter().collect()
}

/// If the cell was interrupted, the error is a consequence of that.
fn explain_interrupt(error: CellError, interrupt: InterruptOutcome) -> CellError {
    const NAME: &str = "KeyboardInterrupt";
    if !interrupt.interrupted {
        error
    } else if !interrupt.started {
        // The error is that of a compiler that was killed.
        CellError::interrupted()
    } else if interrupt.killed {
        CellError::plain(
            NAME,
            "the cell did not react to the first interrupt, and the second one ended its process: \
             all variables are lost",
        )
    } else if error.name == "Error" {
        CellError::plain(NAME, "interrupted; all variables are kept")
    } else {
        CellError { name: NAME.into(), ..error }
    }
}

fn is_cell(file: &str) -> bool {
    file.ends_with("src/lib.rs") && !file.starts_with('/')
}

/// `Error` for `qrnn::error::Error`.
fn short_name(type_name: &str) -> String {
    let base = type_name.split('<').next().unwrap_or(type_name).trim_start_matches(['&', '*']);
    base.rsplit("::").next().unwrap_or(base).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_types_have_short_names() {
        assert_eq!(short_name("qrnn::error::Error"), "Error");
        assert_eq!(short_name("alloc::boxed::Box<dyn core::error::Error>"), "Box");
        assert_eq!(short_name("&str"), "str");
    }
}
