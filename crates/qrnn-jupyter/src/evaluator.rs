//! Cells, run by evcxr.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use evcxr::{CommandContext, CompilationError, Error as Trouble, EvalCallbacks, EvalContext};

use crate::analysis::Known;
use crate::cell;
use crate::diagnostic::Diagnostic;
use crate::error::{Error, Result};
use crate::input::Asker;
use crate::interrupter::{Asked, Interrupter};
use crate::launch;
use crate::message::{Publisher, Request};
use crate::output::{Output, Place, Report};
use crate::session::Session;
use crate::types::{self, Insertion, Named};
use crate::wrong::{Wrong, cell_name};

/// Before the user's first cell. Rust's own linker, lld, is faster than what evcxr may have found.
/// The preloaded library comes into every cell; and cells may use `?`, which evcxr would otherwise
/// find out by compiling the first such cell twice.
const PREPARATIONS: [&str; 3] =
    [":linker system", "use qrnn_preload::cell::*;", "Ok::<(), std::fmt::Error>(())?;"];

/// How a cell ended.
#[derive(Debug)]
pub enum Outcome {
    /// With what is to be shown in a pager: media types and contents.
    Done(Vec<(String, String)>),
    Wrong(Wrong),
}

/// Lives on one thread: the system ends the evaluation process with the thread that started it.
pub struct Evaluator {
    context: CommandContext,
    output: Output,
    interrupter: Arc<Interrupter>,
    asker: Arc<Asker>,
    session: Arc<Session>,
    known: Known,
    /// The running cell as evcxr got it, and what was put into it.
    compiled: (String, Vec<Insertion>),
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
        let (command, pipes) = launch::command(program)?;
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
        let started = EvalContext::with_subprocess_command(command);
        let (context, _outputs) =
            started.map_err(|trouble| Error::Evaluator(trouble.to_string()))?;
        let mut context = CommandContext::with_eval_context(context);
        for preparation in PREPARATIONS {
            context.execute(preparation).map_err(|trouble| Error::Evaluator(explain(&trouble)))?;
        }
        let commands = context.completions(":", 1).map(|found| found.completions);
        let mut commands: Vec<_> =
            commands.into_iter().flatten().map(|command| command.code).collect();
        commands.sort();
        known.set_commands(commands);
        let compiled = Default::default();
        let evaluator = Self { context, output, interrupter, asker, session, known, compiled };
        evaluator.session.note_group(evaluator.process());
        Ok(evaluator)
    }

    /// The evaluation process of the moment.
    fn process(&self) -> u32 {
        let handle = self.context.process_handle();
        handle.lock().map_or_else(|poisoned| poisoned.into_inner().id(), |child| child.id())
    }

    /// Runs a cell; its output is all sent when this returns.
    pub fn execute(&mut self, request: &Request, code: &str, count: u64, silent: bool) -> Outcome {
        let process = self.process();
        self.interrupter.begin(process);
        self.asker.begin(request, process);
        self.output.begin(&request.header, count, silent);
        // Evcxr's own code may meet what it did not expect; the kernel lives on.
        let result = catch_unwind(AssertUnwindSafe(|| self.evaluate(code, count)));
        let asked = self.interrupter.end();
        let report = self.output.end();
        let defined = matches!(result, Ok(Ok(_))).then_some(code);
        self.known.ran(defined, self.context.variables_and_types());
        let outcome = match result {
            Ok(Ok(_)) if asked.before_it_ran => Outcome::Wrong(Wrong::plain(
                "KeyboardInterrupt",
                "interrupted before it ran; all variables are kept".into(),
            )),
            Ok(Ok(paged)) => self.ended(report, paged, code, count, asked),
            Ok(Err(wrong)) => self.interrupted(wrong, asked),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                let value = format!("the evaluator failed: {}", text.unwrap_or("no message"));
                Outcome::Wrong(Wrong::plain("KernelError", value))
            }
        };
        self.session.note_group(self.process());
        outcome
    }

    /// Compiles and runs; what belongs into a pager.
    fn evaluate(&mut self, code: &str, count: u64) -> Result<Vec<(String, String)>, Wrong> {
        let cell = cell::without_preloaded(code);
        let (compiled, insertions) = self.with_types(&cell, count)?;
        self.compiled = (compiled.clone(), insertions.clone());
        if self.interrupter.is_asked() {
            return Err(Wrong::plain("KeyboardInterrupt", "interrupted before it ran".into()));
        }
        match self.context.execute_with_callbacks(&compiled, &mut EvalCallbacks::default()) {
            Ok(outputs) => {
                let forms: Vec<_> = outputs.content_by_mime_type.into_iter().collect();
                if cell::asks_for_help(code) {
                    return Ok(forms);
                }
                if !forms.is_empty() {
                    self.output.show(forms);
                }
                Ok(vec![])
            }
            Err(Trouble::CompilationErrors(errors)) => {
                Err(Wrong::rejected(&errors, &compiled, &cell, &insertions, count))
            }
            Err(Trouble::SubprocessTerminated(status)) => {
                self.output.settle();
                Err(Wrong::death(&status))
            }
            Err(trouble) => Err(Wrong::plain("Error", trouble.to_string())),
        }
    }

    /// The code with the types of its variables in it.
    fn with_types(&mut self, code: &str, count: u64) -> Result<(String, Vec<Insertion>), Wrong> {
        let places = types::places(&crate::completeness::without_commands(code));
        if places.is_empty() {
            return Ok((code.to_owned(), vec![]));
        }
        let probing = types::probing(code, &places);
        let errors = match self.context.check(&probing) {
            Ok(errors) => errors,
            Err(trouble) => return Err(Wrong::plain("Error", explain(&trouble))),
        };
        let (mut types, mut nameless, mut wrong) = (HashMap::new(), vec![], vec![]);
        for error in errors {
            let line = error.json["spans"][0]["text"][0]["text"].as_str().unwrap_or_default();
            if error.message().starts_with(types::COMPLAINT) {
                match types::named(&error.message(), line) {
                    Some((name, Named::Type(ty))) => _ = types.insert(name, ty),
                    Some((name, Named::Nameless(ty))) => nameless.push((name, ty)),
                    None => {}
                }
            } else if error.level() == "error" && in_code(&error, code) {
                wrong.push(error);
            }
        }
        if !wrong.is_empty() {
            return Err(Wrong::rejected(&wrong, &probing, code, &[], count));
        }
        if let Some((name, ty)) = nameless.first() {
            let place = places.iter().find(|place| place.name == *name);
            return Err(Wrong::nameless(name, ty, place.map(|place| place.at), code, count));
        }
        let insertions = types::insertions(&places, &types);
        Ok((types::inserted(code, &insertions), insertions))
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
            let wrong = self.stopped("Panic", &panic.text, &title, panic.at, code, count);
            return self.interrupted(wrong, asked);
        }
        if let Some(failed) = report.failed {
            let name = short(&failed.type_name);
            let title = format!("{name}: {}", failed.text);
            let wrong = self.stopped(&name, &failed.text, &title, failed.at, code, count);
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
        let source = self.context.last_source().ok()?;
        let line = source.lines().nth(place.line.checked_sub(1)?)?;
        let column = line.char_indices().nth(place.column.saturating_sub(1));
        let column = column.map_or(0, |(at, _)| at);
        let (compiled, insertions) = &self.compiled;
        let byte = cell::find_line(compiled, &source, place.line, line, column)?;
        Some(types::original(insertions, byte))
    }

    /// An interrupt that was asked for explains whatever ended the cell.
    fn interrupted(&self, wrong: Wrong, asked: Asked) -> Outcome {
        let Asked { interrupted, ended, .. } = asked;
        Outcome::Wrong(match (interrupted, ended) {
            (false, _) => wrong,
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

/// Whether an error is about the user's code rather than about what was put behind it.
fn in_code(error: &CompilationError, code: &str) -> bool {
    let lines = code.lines().count();
    let spans = error.spanned_messages();
    error.is_from_user_code()
        && (spans.is_empty()
            || spans.iter().any(|s| s.span.is_some_and(|span| span.start_line <= lines)))
}

fn explain(trouble: &Trouble) -> String {
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
