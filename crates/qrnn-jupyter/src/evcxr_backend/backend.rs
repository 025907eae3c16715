//! Cells, run by evcxr.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use evcxr::{CommandContext, CompilationError, Error as Trouble, EvalCallbacks, EvalContext};

use crate::cells::commands;
use crate::cells::preloaded_crates;
use crate::child::interrupt::interrupter::{Asked, Interrupter};
use crate::child::launch;
use crate::child::stdin::Asker;
use crate::child::streams::{Output, Place, Report};
use crate::child::workdir::Session;
use crate::error::{Error, Result};
use crate::evcxr_backend::plan::Plan;
use crate::evcxr_backend::variable_errors;
use crate::notebook::state::Notebook;
use crate::protocol::cell_error::{Wrong, cell_name};
use crate::protocol::message::{Publisher, Request};
use crate::rust_analyzer::Known;
use crate::rustc::build_inputs::Cause;
use crate::rustc::diagnostic::Diagnostic;
use crate::rustc::source_map::SourceMap;
use crate::rustc::syntax_check;
use crate::rustc::type_probes::{self, Insertion};
use crate::rustc::warnings::Compiled;
use crate::toolchain::preload::Preload;
use crate::toolchain::rustc_info;

/// Before the user's first cell, and after `:clear`. Rust's own linker, lld, is faster than what evcxr
/// may have found. The preloaded library comes into every cell; and cells may use `?`, which evcxr would
/// otherwise find out by compiling the first such cell twice.
const PREPARATIONS: [&str; 2] =
    [":linker system", "use qrnn_preload::cell::*; Ok::<(), std::fmt::Error>(())?;"];

/// Has evcxr know what each cell needs.
///
/// # Errors
/// evcxr's.
pub fn prepare(context: &mut CommandContext) -> std::result::Result<(), Trouble> {
    PREPARATIONS.into_iter().try_for_each(|preparation| context.execute(preparation).map(drop))
}

/// How a cell ended.
#[derive(Debug)]
pub enum Outcome {
    /// With what is to be shown in a pager: media types and contents.
    Done(Vec<(String, String)>),
    Wrong(Wrong),
}

/// Lives on one thread: the system ends the evaluation process with the thread that started it.
pub struct Evaluator {
    pub(crate) context: CommandContext,
    pub(crate) output: Output,
    interrupter: Arc<Interrupter>,
    asker: Arc<Asker>,
    pub(crate) session: Arc<Session>,
    pub(crate) notebook: Notebook,
    /// The variables that the running cell lost.
    lost: Vec<String>,
    known: Known,
    /// The running cell as evcxr got it, and what was put into it.
    compiled: (String, Vec<Insertion>),
    /// The file that was compiled for it.
    compiled_file: String,
}

impl Evaluator {
    /// Starts the evaluation process and warms the compiler up.
    ///
    /// # Errors
    /// Where rustc, cargo or the preloaded library are missing or do not fit each other.
    pub fn start(
        program: &Path,
        publisher: Publisher,
        asker: Arc<Asker>,
        interrupter: Arc<Interrupter>,
        session: Arc<Session>,
        known: Known,
    ) -> Result<Self> {
        let (mut command, pipes) = launch::command(program)?;
        asker.attach(pipes.stdin);
        let output = Output::start(
            pipes.stdout,
            pipes.stderr,
            pipes.acknowledgements,
            publisher,
            asker.clone(),
            interrupter.clone(),
        )
        .map_err(Error::system("read the evaluation process"))?;
        let preload = Preload::find(program)?;
        rustc_info::bring(&preload, session.folder());
        // In the session's folder, as evcxr would take settings from an evcxr.toml beside the notebook;
        // cells run beside it.
        let beside = std::env::current_dir().ok();
        if let Some(beside) = &beside {
            command.current_dir(beside);
            let _ = std::env::set_current_dir(session.folder());
        }
        let started = EvalContext::with_subprocess_command(command);
        if let Some(beside) = &beside {
            let _ = std::env::set_current_dir(beside);
        }
        let (context, _outputs) =
            started.map_err(|trouble| Error::Evaluator(trouble.to_string()))?;
        let mut context = CommandContext::with_eval_context(context);
        prepare(&mut context).map_err(|trouble| Error::Evaluator(explain(&trouble)))?;
        rustc_info::keep(&preload, session.folder());
        let commands = context.completions(":", 1).map(|found| found.completions);
        let mut commands: Vec<_> =
            commands.into_iter().flatten().map(|command| command.code).collect();
        commands.sort();
        known.set_commands(commands);
        let (compiled, notebook, lost, compiled_file) = Default::default();
        let evaluator = Self {
            context,
            output,
            interrupter,
            asker,
            session,
            known,
            notebook,
            lost,
            compiled,
            compiled_file,
        };
        evaluator.session.note(evaluator.process());
        Ok(evaluator)
    }

    /// The evaluation process of the moment.
    fn process(&self) -> u32 {
        let handle = self.context.process_handle();
        handle.lock().map_or_else(|poisoned| poisoned.into_inner().id(), |child| child.id())
    }

    /// Runs a cell; its output is all sent when this returns.
    /// None where the shell has gone on without it. `cell` is the interrupter's number for it.
    pub fn execute(
        &mut self,
        request: &Request,
        code: &str,
        count: u64,
        silent: bool,
        cell: u64,
    ) -> Option<Outcome> {
        let process = self.process();
        if !self.interrupter.begin(cell, process) {
            return None;
        }
        self.asker.begin(request, process);
        self.output.begin(&request.header, count, silent);
        // Evcxr's own code may meet what it did not expect; the kernel lives on.
        let result = catch_unwind(AssertUnwindSafe(|| self.evaluate(code, count)));
        let asked = self.interrupter.end();
        let report = self.output.end();
        let defined = matches!(result, Ok(Ok(_))).then_some(code);
        self.known.ran(defined, self.context.variables_and_types());
        let outcome = match result {
            Ok(Ok(_)) if asked.before_it_ran => Outcome::Wrong(Wrong::interrupted()),
            Ok(Ok(paged)) => self.ended(report, paged, code, count, asked),
            Ok(Err(wrong)) => self.interrupted(wrong, asked),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                let value = format!("the evaluator failed: {}", text.unwrap_or("no message"));
                Outcome::Wrong(Wrong::plain("KernelError", value))
            }
        };
        self.session.note(self.process());
        Some(outcome)
    }

    /// Compiles and runs; what belongs into a pager.
    fn evaluate(&mut self, code: &str, count: u64) -> Result<Vec<(String, String)>, Wrong> {
        let library = std::env::var_os(crate::child::runtime::PRELOAD).unwrap_or_default();
        for note in preloaded_crates::notes(code, Path::new(&library)) {
            self.output.note(&note);
        }
        let cell = commands::without_preloaded(code);
        self.lost.clear();
        let complaints = syntax_check::complaints(&cell, self.session.folder());
        if !complaints.is_empty() {
            return Err(Wrong::drawn("CompileError", &complaints, &cell, count));
        }
        let cell = self.with_restarts(&cell, count)?;
        let plan = self.plan(&cell, count)?;
        let (compiled, insertions) = self.with_types(&cell, &plan.additions, count)?;
        self.prepare(&plan)?;
        self.compiled = (compiled.clone(), insertions.clone());
        if self.interrupter.is_asked() {
            return Err(Wrong::interrupted());
        }
        let told = Compiled {
            cell: cell.clone(),
            compiled: compiled.clone(),
            insertions: insertions.clone(),
            count,
        };
        self.output.compiles(told, self.session.folder());
        let result = self.context.execute_with_callbacks(&compiled, &mut EvalCallbacks::default());
        self.compiled_file = self.context.last_source().unwrap_or_default();
        if let Some(refusal) = self.refusal(&plan, &result) {
            self.settle(&plan, count, &result);
            // The remedy that the refusal names.
            if plan.dropped.is_empty() {
                return Err(refusal);
            }
            // The places that its code knows are those of other cells.
            self.compiled_file.clear();
            self.lost = self.discard(&plan.dropped, count)?;
            return Ok(vec![]);
        }
        self.lost = self.settle(&plan, count, &result);
        match result {
            Ok(outputs) => {
                let mut forms = outputs.content_by_mime_type;
                // Of `:type`, which gives its text for HTML.
                if forms.get("text/html") == forms.get("text/plain") {
                    forms.remove("text/html");
                }
                let forms: Vec<_> = forms.into_iter().collect();
                if commands::asks_for_help(code) {
                    return Ok(forms);
                }
                if !forms.is_empty() {
                    self.output.show(forms);
                }
                Ok(vec![])
            }
            Err(Trouble::CompilationErrors(errors)) => {
                Err(self.rejected(&errors, &compiled, &cell, &insertions, count))
            }
            Err(Trouble::SubprocessTerminated(status)) => {
                self.output.settle();
                Err(Wrong::death(&status))
            }
            Err(trouble) => Err(Wrong::plain("Error", trouble.to_string())),
        }
    }

    /// Whether the cell did not run because variables hold values of before a change.
    fn refusal<T>(&self, plan: &Plan, result: &Result<T, Trouble>) -> Option<Wrong> {
        match result {
            Err(Trouble::CompilationErrors(errors)) => {
                // Warnings of a crate that was built anew may stand before it.
                let cause = errors.iter().find_map(|error| Cause::of(&error.message()))?;
                Some(variable_errors::by_change(&cause, &self.holding(plan, &cause)))
            }
            Err(Trouble::SubprocessTerminated(_)) | Ok(_) => None,
            Err(_) => {
                let names = self.output.changed();
                (!names.is_empty()).then(|| variable_errors::by_type(&names))
            }
        }
    }

    pub(crate) fn rejected(
        &self,
        errors: &[CompilationError],
        compiled: &str,
        code: &str,
        insertions: &[Insertion],
        count: u64,
    ) -> Wrong {
        let explain =
            |diagnostic: &mut _| variable_errors::explain_gone(&self.notebook, diagnostic);
        Wrong::rejected(errors, compiled, code, insertions, count, explain)
    }

    /// The outcome of a cell whose code came to its end, one way or another.
    fn ended(
        &self,
        report: Report,
        paged: Vec<(String, String)>,
        code: &str,
        count: u64,
        asked: Asked,
    ) -> Outcome {
        if let Some(panic) = report.panic {
            let title = format!("the cell panicked: {}", panic.text);
            let mut wrong = self.stopped("Panic", &panic.text, &title, panic.at, code, count);
            variable_errors::note_lost(&mut wrong, &self.lost);
            return self.interrupted(wrong, asked);
        }
        if let Some(failed) = report.failed {
            let name = short(&failed.type_name);
            let title = format!("{name}: {}", failed.text);
            let mut wrong = self.stopped(&name, &failed.text, &title, failed.at, code, count);
            variable_errors::note_lost(&mut wrong, &self.lost);
            return self.interrupted(wrong, asked);
        }
        Outcome::Done(paged)
    }

    fn stopped(
        &self,
        name: &str,
        value: &str,
        title: &str,
        at: Option<Place>,
        code: &str,
        count: u64,
    ) -> Wrong {
        let byte = at.as_ref().and_then(|place| self.byte_in_cell(place));
        let diagnostic = Diagnostic::at(title, byte, code, "here");
        let mut traceback = vec![diagnostic.render(code, &cell_name(count))];
        if byte.is_none()
            && let Some(Place { file, line, column }) = at.filter(|at| !is_cell(&at.file))
        {
            traceback.push(format!("  at {file}:{line}:{column}"));
        }
        Wrong { name: name.into(), value: value.into(), traceback }
    }

    /// Where a place in what was compiled lies in the cell.
    fn byte_in_cell(&self, place: &Place) -> Option<usize> {
        if !is_cell(&place.file) {
            return None;
        }
        let source = &self.compiled_file;
        let (compiled, insertions) = &self.compiled;
        let byte = SourceMap::new(compiled, source).byte(place.line, place.column)?;
        Some(type_probes::original(insertions, byte))
    }

    /// An interrupt that was asked for explains whatever ended the cell.
    fn interrupted(&self, wrong: Wrong, asked: Asked) -> Outcome {
        let Asked { interrupted, ended, started, .. } = asked;
        Outcome::Wrong(match (interrupted, ended) {
            (false, _) => wrong,
            // Compilers that were stopped complain of it at length.
            (true, _) if !started => Wrong::interrupted(),
            (true, true) => Wrong::plain(
                "KeyboardInterrupt",
                "the cell did not notice the first interrupt, and the second ended its process: \
                 all variables are lost"
                    .into(),
            ),
            // A compiler that was stopped complains about that only.
            (true, false) if wrong.name == "Error" => {
                Wrong::plain("KeyboardInterrupt", "interrupted; all variables are kept".into())
            }
            (true, false) => Wrong { name: "KeyboardInterrupt".into(), ..wrong },
        })
    }
}

fn is_cell(file: &str) -> bool {
    file.ends_with("src/lib.rs") && !file.starts_with('/')
}

/// `qrnn::error::Error` is shown as `Error`.
fn short(type_name: &str) -> String {
    let base = type_name.split('<').next().unwrap_or(type_name).trim_start_matches(['&', '*']);
    base.rsplit("::").next().unwrap_or(base).to_owned()
}

/// What rustc said, or the trouble's own words.
pub fn explain(trouble: &Trouble) -> String {
    match trouble {
        Trouble::CompilationErrors(errors) => {
            let rendered = errors.iter().map(|error| match error.rendered() {
                rendered if rendered.is_empty() => error.message(),
                rendered => rendered,
            });
            rendered.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}

/// The byte at a line and a column counted in characters.
pub fn byte_at(code: &str, cursor: usize) -> usize {
    code.char_indices().nth(cursor).map_or(code.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_types_are_named_shortly() {
        assert_eq!(short("qrnn::error::Error"), "Error");
        assert_eq!(short("alloc::boxed::Box<dyn core::error::Error>"), "Box");
        assert_eq!(short("&str"), "str");
    }
}
