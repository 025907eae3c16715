//! The shell channel: requests, answered one after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use jupyter_protocol::JupyterMessage;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::cells::commands;
use crate::cells::completeness::{self, Completeness};
use crate::child::interrupt::interrupter::Interrupter;
use crate::child::workdir::Workdir;
use crate::error::Error;
use crate::evcxr_backend::backend::{Backend, Connections, Outcome};
use crate::frontend::history::History;
use crate::frontend::kernel_info::kernel_info;
use crate::protocol::cell_error::CellError;
use crate::protocol::message::Request;
use crate::terminal;

/// What cells need.
#[derive(Clone)]
pub struct Prepared {
    pub program: PathBuf,
    pub workdir: Arc<Workdir>,
}

/// Work for the backend's thread.
type Job = Box<dyn FnOnce(&mut Result<Backend, String>) + Send>;

/// Starts the threads. `prepared` may be the reason why cells cannot run. Returns the sender of
/// requests, and a receiver that is notified of a shutdown.
pub fn start(
    prepared: Result<Prepared, String>,
    connections: Connections,
    replies: UnboundedSender<JupyterMessage>,
) -> std::io::Result<(Sender<Request>, oneshot::Receiver<()>)> {
    let (requests, incoming) = mpsc::channel();
    let (end, ended) = oneshot::channel();
    let jobs = start_backend(prepared, connections.clone())?;
    let (history, count, quitting) = Default::default();
    let shell = ShellThread { connections, replies, jobs, history, count, quitting };
    std::thread::Builder::new().name("shell".into()).spawn(move || shell.run(&incoming, end))?;
    Ok((requests, ended))
}

/// Starts the thread that runs cells. It prepares itself before the first cell.
fn start_backend(
    prepared: Result<Prepared, String>,
    connections: Connections,
) -> std::io::Result<Sender<Job>> {
    let (jobs, incoming) = mpsc::channel::<Job>();
    let work = move || {
        let mut backend = prepared.and_then(|Prepared { program, workdir }| {
            let start = || Backend::start(&program, workdir.clone(), connections.clone());
            retry_after_interrupts(start, &connections.interrupter).map_err(|error| {
                terminal::log(&error);
                error.to_string()
            })
        });
        for job in incoming {
            job(&mut backend);
        }
    };
    // evcxr's rust-analyzer recurses deeply.
    std::thread::Builder::new().name("backend".into()).stack_size(64 << 20).spawn(work)?;
    Ok(jobs)
}

/// SIGINT reaches the whole process group, also the compilers that the backend starts with.
fn retry_after_interrupts<T>(
    start: impl Fn() -> Result<T, Error>,
    interrupter: &Interrupter,
) -> Result<T, Error> {
    let mut tries = 0;
    loop {
        let interrupts = interrupter.count();
        let started = start();
        tries += 1;
        if started.is_ok() || interrupter.count() == interrupts || tries == 5 {
            return started;
        }
    }
}

struct ShellThread {
    connections: Connections,
    replies: UnboundedSender<JupyterMessage>,
    jobs: Sender<Job>,
    history: History,
    count: u64,
    /// A cell has executed `:quit`.
    quitting: bool,
}

impl ShellThread {
    fn run(mut self, incoming: &Receiver<Request>, end: oneshot::Sender<()>) {
        while let Ok(request) = incoming.recv() {
            self.connections.publisher.busy(&request.header);
            let (reply, failed) = self.answer(&request);
            self.connections.analysis.cell_answered(&request);
            // Cells that arrive after the reply were sent by someone who knows of the error.
            let stop = failed && request.flag("stop_on_error", true);
            let waiting = if stop { waiting_requests(incoming) } else { vec![] };
            if let Some(reply) = reply {
                let _ = self.replies.send(reply);
            }
            self.connections.publisher.idle(&request.header);
            if request.kind() == "shutdown_request" || self.quitting {
                let _ = end.send(());
                return;
            }
            self.abort(waiting);
        }
    }

    /// The reply, and whether a cell failed.
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
                Err(problem) => request.error_reply("BadRequest", &problem),
            },
            "comm_info_request" => request.reply(json!({ "status": "ok", "comms": {} })),
            "comm_open" => {
                // The kernel has no comm targets.
                let content = json!({ "comm_id": request.content["comm_id"], "data": {} });
                self.connections.publisher.publish("comm_close", content, Some(&request.header));
                return (None, false);
            }
            "comm_msg" | "comm_close" => return (None, false),
            "shutdown_request" => request.shutdown_reply(),
            kind => {
                let problem = format!("{kind} is not a shell request");
                request.error_reply("UnknownRequest", &problem)
            }
        };
        (Some(reply), false)
    }

    /// Does not run cells that were sent before an earlier one failed.
    fn abort(&mut self, waiting: Vec<Request>) {
        for request in waiting {
            self.connections.publisher.status("busy", Some(&request.header));
            self.connections.analysis.cell_answered(&request);
            let reply = if request.kind() == "execute_request" {
                let count = self.count;
                Some(request.reply(json!({ "status": "aborted", "execution_count": count })))
            } else {
                self.answer(&request).0
            };
            if let Some(reply) = reply {
                let _ = self.replies.send(reply);
            }
            self.connections.publisher.status("idle", Some(&request.header));
        }
    }

    fn execute(&mut self, request: &Request) -> (JupyterMessage, bool) {
        let Some(code) = request.text("code") else {
            return (request.error_reply("BadRequest", "code is missing"), true);
        };
        let silent = request.flag("silent", false);
        if !silent && request.flag("store_history", true) {
            self.count += 1;
            self.history.add(self.count, code);
        }
        let count = self.count;
        let header = Some(&request.header);
        if !silent {
            let input = json!({ "code": code, "execution_count": count });
            self.connections.publisher.publish("execute_input", input, header);
        }
        let (code, quits) = commands::without_quit(code);
        let outcome = match commands::doc_path(&code) {
            Some(path) => self.document(path),
            None => self.evaluate(request, code.into_owned(), count, silent),
        };
        match outcome {
            Ok(paged) => {
                let data: serde_json::Map<_, _> =
                    paged.into_iter().map(|(kind, text)| (kind, text.into())).collect();
                let mut payload = vec![];
                if !data.is_empty() {
                    payload.push(json!({ "source": "page", "data": data, "start": 0 }));
                }
                if quits {
                    // As for ipykernel's `exit`: the front end is asked to end the kernel. If it does
                    // not, the kernel ends itself.
                    payload.push(json!({ "source": "ask_exit", "keepkernel": false }));
                    self.quitting = true;
                }
                let content = json!({
                    "status": "ok", "execution_count": count, "payload": payload,
                    "user_expressions": user_expressions(request),
                });
                (request.reply(content), false)
            }
            Err(CellError { name, value, traceback }) => {
                let mut content = json!({ "ename": name, "evalue": value, "traceback": traceback });
                if !silent {
                    self.connections.publisher.publish("error", content.clone(), header);
                }
                content["status"] = "error".into();
                content["execution_count"] = count.into();
                (request.reply(content), true)
            }
        }
    }

    /// Has the backend run the cell. Waits for its end, or for an interrupt before its code starts.
    fn evaluate(&self, request: &Request, code: String, count: u64, silent: bool) -> Outcome {
        let (outcome, wait) = mpsc::channel();
        let abandoned = outcome.clone();
        let interrupter = &self.connections.interrupter;
        let abandon = move || _ = abandoned.send(Err(CellError::interrupted()));
        let cell = interrupter.enqueue(request, abandon);
        let owned = request.clone();
        let job = move |backend: &mut Result<Backend, String>| {
            let ended = match backend {
                Ok(backend) => backend.execute(&owned, &code, count, silent, cell),
                Err(problem) => Some(Err(CellError::kernel(problem.as_str()))),
            };
            if let Some(ended) = ended {
                let _ = outcome.send(ended);
            }
        };
        let sent = self.jobs.send(Box::new(job)).is_ok();
        let ended = sent.then(|| wait.recv().ok()).flatten();
        interrupter.dequeue();
        ended.unwrap_or_else(|| Err(CellError::kernel("the thread that runs cells has ended")))
    }

    /// `:doc PATH`.
    fn document(&self, path: &str) -> Outcome {
        match self.connections.analysis.describe(path) {
            Some(found) => Ok(vec![
                ("text/plain".into(), found.plain),
                ("text/markdown".into(), found.markdown),
            ]),
            None => Err(CellError::plain("Error", format!("there is no documentation of {path}"))),
        }
    }
}

/// The requests that were sent already. Front ends send all cells at once, but they arrive one after
/// the other.
fn waiting_requests(incoming: &Receiver<Request>) -> Vec<Request> {
    let pause = Duration::from_millis(20);
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

/// Refuses each expression, as the protocol demands: they are for languages with `eval`.
fn user_expressions(request: &Request) -> Value {
    let expressions = request.content["user_expressions"].as_object();
    let refused = expressions.into_iter().flatten().map(|(name, _)| {
        let refusal = json!({
            "status": "error", "ename": "Unsupported",
            "evalue": "user expressions are not evaluated; put the expression into a cell",
            "traceback": [],
        });
        (name.clone(), refusal)
    });
    Value::Object(refused.collect())
}
