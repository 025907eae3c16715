//! Requests on the shell channel, answered one after the other.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};

use jupyter_protocol::JupyterMessage;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::cells::commands;
use crate::cells::completeness::{self, Completeness};
use crate::child::interrupt::interrupter::Interrupter;
use crate::child::stdin::Asker;
use crate::child::workdir::Session;
use crate::error::Error;
use crate::evcxr_backend::backend::{Evaluator, Outcome};
use crate::frontend::history::History;
use crate::log;
use crate::protocol::cell_error::Wrong;
use crate::protocol::message::{Publisher, Request};
use crate::rust_analyzer::{Analyst, Known};

/// What the thread that answers needs.
pub struct Shell {
    /// What cells need; else what is wrong, which every cell is answered with.
    pub prepared: Result<Prepared, String>,
    pub publisher: Publisher,
    pub replies: UnboundedSender<JupyterMessage>,
    pub asker: Arc<Asker>,
    pub interrupter: Arc<Interrupter>,
}

/// What the evaluator builds upon.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub program: PathBuf,
    pub session: Arc<Session>,
}

/// Work for the evaluator's thread, and where its result goes.
type Job = Box<dyn FnOnce(&mut Result<Evaluator, String>) + Send>;

impl Shell {
    /// Starts the threads; requests go in, those that need not wait for cells to what is known, and
    /// the receiver hears of a shutdown.
    ///
    /// # Errors
    /// Where there can be no more threads.
    pub fn start(self) -> std::io::Result<(Sender<Request>, Known, oneshot::Receiver<()>)> {
        let (requests, incoming) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let prepared = self.prepared.as_ref().ok();
        let place = prepared.map(|prepared| (prepared.program.clone(), prepared.session.clone()));
        let known = Analyst::start(place, self.publisher.clone(), self.replies.clone())?;
        let jobs = self.start_evaluator(known.clone())?;
        let answering = Answering {
            publisher: self.publisher,
            replies: self.replies,
            jobs,
            interrupter: self.interrupter,
            known: known.clone(),
            history: History::default(),
            count: 0,
            quitting: false,
        };
        let answer = move || answering.run(&incoming, end);
        std::thread::Builder::new().name("shell".into()).spawn(answer)?;
        Ok((requests, known, ended))
    }

    /// The evaluator gets ready while the front end still asks who we are.
    fn start_evaluator(&self, known: Known) -> std::io::Result<Sender<Job>> {
        let (jobs, incoming) = mpsc::channel::<Job>();
        let prepared = self.prepared.clone();
        let (publisher, asker) = (self.publisher.clone(), self.asker.clone());
        let interrupter = self.interrupter.clone();
        let work = move || {
            let mut evaluator = prepared.and_then(|Prepared { program, session }| {
                let start = || {
                    let (publisher, asker) = (publisher.clone(), asker.clone());
                    let (interrupter, session) = (interrupter.clone(), session.clone());
                    let known = known.clone();
                    Evaluator::start(&program, publisher, asker, interrupter, session, known)
                };
                start_undisturbed(start, &interrupter).map_err(|error| {
                    log::line(&error.to_string());
                    error.to_string()
                })
            });
            for job in incoming {
                job(&mut evaluator);
            }
        };
        std::thread::Builder::new()
            .name("evaluator".into())
            // rust-analyzer recurses deeply.
            .stack_size(64 << 20)
            .spawn(work)?;
        Ok(jobs)
    }
}

/// A SIGINT goes to the kernel's whole group: to the compilers that start the evaluator, too.
fn start_undisturbed<T>(
    start: impl Fn() -> Result<T, Error>,
    interrupter: &Interrupter,
) -> Result<T, Error> {
    let mut tries = 0;
    loop {
        let seen = interrupter.seen();
        let started = start();
        tries += 1;
        if started.is_ok() || interrupter.seen() == seen || tries == 5 {
            return started;
        }
    }
}

struct Answering {
    publisher: Publisher,
    replies: UnboundedSender<JupyterMessage>,
    jobs: Sender<Job>,
    interrupter: Arc<Interrupter>,
    known: Known,
    history: History,
    count: u64,
    /// A cell has asked for the kernel's end (`:quit`), and has had its reply.
    quitting: bool,
}

impl Answering {
    fn run(mut self, incoming: &Receiver<Request>, end: oneshot::Sender<()>) {
        while let Ok(request) = incoming.recv() {
            self.publisher.busy(&request.header);
            let (reply, failed) = self.answer(&request);
            self.known.forget(&request);
            // Before the reply: what comes after it was sent by someone who knows.
            let stop = failed && request.flag("stop_on_error", true);
            let waiting = if stop { waiting(incoming) } else { vec![] };
            if let Some(reply) = reply {
                let _ = self.replies.send(reply);
            }
            self.publisher.idle(&request.header);
            if request.kind() == "shutdown_request" || self.quitting {
                let _ = end.send(());
                return;
            }
            self.abort(waiting);
        }
    }

    /// A reply, and whether a cell failed.
    fn answer(&mut self, request: &Request) -> (Option<JupyterMessage>, bool) {
        let reply = match request.kind() {
            "execute_request" => {
                let (reply, failed) = self.execute(request);
                return (Some(reply), failed);
            }
            "kernel_info_request" => request.reply(kernel_info()),
            "is_complete_request" => request.reply(match request.text("code") {
                Some(code) => is_complete(code),
                None => json!({ "status": "unknown" }),
            }),
            "history_request" => match self.history.find(request) {
                Ok(history) => request.reply(json!({ "status": "ok", "history": history })),
                Err(problem) => request.refusal("BadRequest", &problem),
            },
            "comm_info_request" => request.reply(json!({ "status": "ok", "comms": {} })),
            "comm_open" => {
                // No comm has a counterpart here; the front end is told so.
                let content = json!({ "comm_id": request.content["comm_id"], "data": {} });
                self.publisher.publish("comm_close", content, Some(&request.header));
                return (None, false);
            }
            "comm_msg" | "comm_close" => return (None, false),
            "shutdown_request" => {
                let restart = request.flag("restart", false);
                request.reply(json!({ "status": "ok", "restart": restart }))
            }
            kind => request.refusal("UnknownRequest", &format!("{kind} is no shell request")),
        };
        (Some(reply), false)
    }

    /// Cells that were sent before anyone knew that one before them would fail are not run.
    fn abort(&mut self, waiting: Vec<Request>) {
        for request in waiting {
            self.publisher.status("busy", Some(&request.header));
            self.known.forget(&request);
            let reply = if request.kind() == "execute_request" {
                let count = self.count;
                Some(request.reply(json!({ "status": "aborted", "execution_count": count })))
            } else {
                self.answer(&request).0
            };
            if let Some(reply) = reply {
                let _ = self.replies.send(reply);
            }
            self.publisher.status("idle", Some(&request.header));
        }
    }

    fn execute(&mut self, request: &Request) -> (JupyterMessage, bool) {
        let Some(code) = request.text("code").map(str::to_owned) else {
            return (request.refusal("BadRequest", "a cell without code"), true);
        };
        let silent = request.flag("silent", false);
        if !silent && request.flag("store_history", true) {
            self.count += 1;
            self.history.add(self.count, &code);
        }
        let count = self.count;
        let header = Some(&request.header);
        if !silent {
            let input = json!({ "code": code, "execution_count": count });
            self.publisher.publish("execute_input", input, header);
        }
        let (code, quits) = commands::without_quit(&code);
        if let Some(path) = commands::documented(&code) {
            return self.document(request, path);
        }
        match self.evaluate(request, code.into_owned(), count, silent) {
            Outcome::Done(paged) => {
                let data: serde_json::Map<_, _> =
                    paged.into_iter().map(|(kind, text)| (kind, text.into())).collect();
                let mut payload = vec![];
                if !data.is_empty() {
                    payload.push(json!({ "source": "page", "data": data, "start": 0 }));
                }
                if quits {
                    // As ipykernel's `exit` has it: the front end is asked to end the kernel, which
                    // ends by itself where nobody does.
                    payload.push(json!({ "source": "ask_exit", "keepkernel": false }));
                    self.quitting = true;
                }
                let content = json!({
                    "status": "ok", "execution_count": count, "payload": payload,
                    "user_expressions": expressions(request),
                });
                (request.reply(content), false)
            }
            Outcome::Wrong(Wrong { name, value, traceback }) => {
                let mut content = json!({ "ename": name, "evalue": value, "traceback": traceback });
                if !silent {
                    self.publisher.publish("error", content.clone(), header);
                }
                content["status"] = "error".into();
                content["execution_count"] = count.into();
                (request.reply(content), true)
            }
        }
    }

    /// Has the evaluator run the cell, and waits: for its end, or for an interrupt before its code
    /// has started.
    fn evaluate(&self, request: &Request, code: String, count: u64, silent: bool) -> Outcome {
        let (outcome, wait) = mpsc::channel();
        let stop = outcome.clone();
        let cell = self.interrupter.accept(request, move || _ = stop.send(interrupted()));
        let owned = request.clone();
        let job = move |evaluator: &mut Result<Evaluator, String>| {
            let _ = match evaluator {
                Ok(evaluator) => match evaluator.execute(&owned, &code, count, silent, cell) {
                    Some(ended) => outcome.send(ended),
                    None => return,
                },
                Err(problem) => {
                    outcome.send(Outcome::Wrong(Wrong::plain("KernelError", problem.clone())))
                }
            };
        };
        let sent = self.jobs.send(Box::new(job)).is_ok();
        let ended = sent.then(|| wait.recv().ok()).flatten();
        self.interrupter.answered();
        let gone = || Outcome::Wrong(Wrong::plain("KernelError", "the evaluator is gone".into()));
        ended.unwrap_or_else(gone)
    }

    /// `:doc PATH`, which opens a pager.
    fn document(&self, request: &Request, path: &str) -> (JupyterMessage, bool) {
        let count = self.count;
        let Some(found) = self.known.describe(path) else {
            let content = json!({
                "ename": "Error", "evalue": format!("no documentation found of {path}"),
                "traceback": [format!("no documentation found of {path}")],
            });
            self.publisher.publish("error", content.clone(), Some(&request.header));
            let mut content = content;
            content["status"] = "error".into();
            content["execution_count"] = count.into();
            return (request.reply(content), true);
        };
        let data = json!({ "text/plain": found.plain, "text/markdown": found.markdown });
        let page = json!({ "source": "page", "data": data, "start": 0 });
        let content = json!({
            "status": "ok", "execution_count": count, "payload": [page],
            "user_expressions": expressions(request),
        });
        (request.reply(content), false)
    }
}

/// Of a cell whose code has not started.
fn interrupted() -> Outcome {
    Outcome::Wrong(Wrong::interrupted())
}

/// The requests that were sent already; front ends send all cells in one go, but they arrive one
/// after the other.
fn waiting(incoming: &Receiver<Request>) -> Vec<Request> {
    let pause = std::time::Duration::from_millis(20);
    std::iter::from_fn(|| incoming.recv_timeout(pause).ok()).collect()
}

fn is_complete(code: &str) -> Value {
    match completeness::of(code) {
        Completeness::Complete => json!({ "status": "complete" }),
        Completeness::Invalid => json!({ "status": "invalid" }),
        Completeness::Incomplete(spaces) => {
            json!({ "status": "incomplete", "indent": " ".repeat(spaces) })
        }
    }
}

/// Each is refused for itself, as the protocol has it: they are for languages with `eval`.
fn expressions(request: &Request) -> Value {
    let asked = request.content["user_expressions"].as_object();
    let refused = asked.into_iter().flatten().map(|(name, _)| {
        let refusal = json!({
            "status": "error", "ename": "Unsupported",
            "evalue": "user expressions are not evaluated; put the expression into a cell",
            "traceback": [],
        });
        (name.clone(), refusal)
    });
    Value::Object(refused.collect())
}

pub fn kernel_info() -> Value {
    json!({
        "status": "ok",
        "protocol_version": "5.4",
        "implementation": "qrnn-jupyter",
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": {
            "name": "rust",
            "version": rust_version(),
            "mimetype": "text/rust",
            "file_extension": ".rs",
            "pygments_lexer": "rust",
            "codemirror_mode": "rust",
            "nbconvert_exporter": "script",
        },
        "banner": "Rust with qrnn and tch at hand: use qrnn::prelude::*;",
        "help_links": [
            { "text": "The Rust Standard Library", "url": "https://doc.rust-lang.org/std/" },
            { "text": "tch", "url": "https://docs.rs/tch/0.24.0/tch/" },
        ],
        "debugger": false,
        "supported_features": [],
    })
}

/// Of the rustc that compiles cells, `1.95.0` say.
fn rust_version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let text = crate::toolchain::preload::ask_rustc(&["--version"]);
        let word = text.ok().and_then(|text| text.split(' ').nth(1).map(str::to_owned));
        word.unwrap_or_else(|| "unknown".into())
    })
}
