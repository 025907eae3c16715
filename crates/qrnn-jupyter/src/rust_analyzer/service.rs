//! Answers requests for completion and inspection, on a separate thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use jupyter_protocol::JupyterMessage;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use crate::cells::commands::without_commands;
use crate::protocol::iopub::Publisher;
use crate::protocol::message::Request;
use crate::rust_analyzer::client::{Client, NoAnswer};
use crate::rust_analyzer::notebook_text::NotebookText;
use crate::rust_analyzer::project_cache;
use crate::rust_analyzer::replies::{self, Cursor};
use crate::rust_analyzer::wire::{Ask, Found, Inspection};
use crate::terminal;
use crate::toolchain::preload::Preload;

/// How long a request waits while the sources are loaded.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Folder in the workdir for the manifest that cargo is asked about.
const FOLDER: &str = "analysis";

/// Informs the service about the notebook, and hands it requests.
#[derive(Debug, Clone)]
pub struct ServiceHandle {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
}

#[derive(Debug, Default)]
struct Shared {
    notebook: Mutex<NotebookText>,
    /// evcxr's commands: `:dep`, `:help`, ..
    commands: Mutex<Vec<String>>,
}

enum Job {
    Answer(Request, Instant),
    Describe(String, Sender<Option<Inspection>>),
    /// A cell has run; it may have added dependencies.
    CellRan,
}

impl ServiceHandle {
    /// Takes a request for completion or inspection; returns false for other requests. The code of a
    /// cell is noted.
    pub fn accept(&self, request: &Request) -> bool {
        match request.kind() {
            "complete_request" | "inspect_request" => {
                self.jobs.send(Job::Answer(request.clone(), Instant::now())).is_ok()
            }
            "execute_request" => {
                let code = request.text("code").unwrap_or_default();
                self.shared.notebook.lock().add_waiting(&request.header.msg_id, code);
                false
            }
            _ => false,
        }
    }

    pub fn cell_answered(&self, request: &Request) {
        self.shared.notebook.lock().remove_waiting(&request.header.msg_id);
    }

    /// A cell has run. `code` is given if its items are defined now.
    pub fn cell_ran<'a>(
        &self,
        code: Option<&str>,
        variables: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        let variables = variables.map(|(name, ty)| (name.to_owned(), ty.to_owned()));
        let mut notebook = self.shared.notebook.lock();
        if let Some(code) = code {
            notebook.define(code);
        }
        notebook.set_variables(variables.collect());
        drop(notebook);
        let _ = self.jobs.send(Job::CellRan);
    }

    pub fn set_commands(&self, commands: Vec<String>) {
        *self.shared.commands.lock() = commands;
    }

    /// The documentation of a path, `std::vec::Vec`.
    pub fn describe(&self, path: &str) -> Option<Inspection> {
        let (answer, wait) = mpsc::channel();
        self.jobs.send(Job::Describe(path.to_owned(), answer)).ok()?;
        wait.recv().ok().flatten()
    }
}

pub struct Service {
    /// This program and the workdir. Without them, nothing is found.
    place: Option<(PathBuf, PathBuf)>,
    publisher: Publisher,
    replies: UnboundedSender<JupyterMessage>,
    shared: Arc<Shared>,
    /// The preloaded crates, as lines of a manifest.
    preloaded: String,
    client: Option<Client>,
    /// The dependencies that the process has loaded, or is loading.
    dependencies: String,
}

impl Service {
    /// Starts the thread and the process, which loads the standard library before the first cell.
    pub fn start(
        place: Option<(PathBuf, PathBuf)>,
        publisher: Publisher,
        replies: UnboundedSender<JupyterMessage>,
    ) -> std::io::Result<ServiceHandle> {
        let (jobs, incoming) = mpsc::channel();
        let handle = ServiceHandle { shared: Arc::default(), jobs };
        let mut service = Self {
            place,
            publisher,
            replies,
            shared: handle.shared.clone(),
            preloaded: String::new(),
            client: None,
            dependencies: String::new(),
        };
        let work = move || {
            service.prepare();
            service.run(&incoming);
        };
        std::thread::Builder::new().name("rust-analyzer service".into()).spawn(work)?;
        Ok(handle)
    }

    fn prepare(&mut self) {
        let Some((program, workdir)) = &self.place else { return };
        let folder = workdir.join(FOLDER);
        if let Err(error) = std::fs::create_dir_all(&folder) {
            terminal::log(format_args!("{}: cannot create: {error}", folder.display()));
            return;
        }
        if let Ok(preload) = Preload::find(program)
            && let (Some(lock), Some(dependencies)) = (preload.lock(), preload.dependencies())
            && std::fs::copy(lock, folder.join("Cargo.lock")).is_ok()
        {
            self.preloaded = dependencies;
            // Without these files, the process computes what is in them.
            for name in project_cache::FILES {
                let _ = std::fs::copy(preload.folder().join(name), folder.join(name));
            }
        }
        self.load();
    }

    fn run(&mut self, incoming: &Receiver<Job>) {
        for job in incoming {
            match job {
                Job::Answer(request, since) => self.answer(&request, since + TIMEOUT),
                Job::Describe(path, answer) => {
                    let found = self.inspect(&path, path.len(), false, Instant::now() + TIMEOUT);
                    let _ = answer.send(found);
                }
                Job::CellRan => self.load(),
            }
        }
    }

    fn answer(&mut self, request: &Request, deadline: Instant) {
        self.publisher.status("busy", Some(&request.header));
        let reply = match Cursor::of(request) {
            None => request.error_reply("BadRequest", "code or cursor_pos is missing"),
            Some(cursor) if request.kind() == "complete_request" => {
                request.reply(self.complete(&cursor, deadline))
            }
            Some(cursor) => {
                let detailed = request.number("detail_level").is_some_and(|level| level > 0);
                let found = self.inspect(&cursor.code, cursor.byte, detailed, deadline);
                request.reply(replies::inspection(found))
            }
        };
        let _ = self.replies.send(reply);
        self.publisher.idle_during_cell(&request.header);
    }

    fn complete(&mut self, cursor: &Cursor, deadline: Instant) -> serde_json::Value {
        if let Some(command) = cursor.command() {
            return replies::commands(cursor, command, &self.shared.commands.lock());
        }
        let (text, start) = self.shared.notebook.lock().with_cell(&cursor.code);
        let ask = Ask::Complete { text, offset: start + cursor.byte };
        let found = match self.ask(ask, deadline) {
            Some(Found::Completions(found)) => Some(found),
            _ => None,
        };
        replies::completions(cursor, start, found)
    }

    fn inspect(
        &mut self,
        code: &str,
        byte: usize,
        detailed: bool,
        deadline: Instant,
    ) -> Option<Inspection> {
        let blank = without_commands(code);
        let (before, behind) = blank.split_at_checked(byte)?;
        let mut beside = before.chars().next_back().into_iter().chain(behind.chars().next());
        if beside.all(char::is_whitespace) {
            return None;
        }
        let (text, start) = self.shared.notebook.lock().with_cell(code);
        match self.ask(Ask::Inspect { text, offset: start + byte, detailed }, deadline) {
            Some(Found::Inspection(found)) => found,
            _ => None,
        }
    }

    /// Has the process load new dependencies, without waiting. Starts it if it does not run.
    fn load(&mut self) {
        let Some((program, workdir)) = &self.place else { return };
        let manifest = std::fs::read_to_string(workdir.join("Cargo.toml"));
        let added = manifest.map(|text| replies::dependencies(&text)).unwrap_or_default();
        let dependencies = format!("{}{added}", self.preloaded);
        if self.client.is_some() && dependencies == self.dependencies {
            return;
        }
        self.dependencies = dependencies;
        let started = match self.client.take() {
            Some(client) => Ok(client),
            None => Client::start(program, &workdir.join(FOLDER)),
        };
        match started {
            Ok(mut client) => {
                let sent = client.send(&self.dependencies, Ask::Load);
                self.client = sent.is_some().then_some(client);
            }
            Err(error) => terminal::log(error),
        }
    }

    fn ask(&mut self, ask: Ask, deadline: Instant) -> Option<Found> {
        self.load();
        let client = self.client.as_mut()?;
        let idle = client.is_idle();
        match client.ask(&self.dependencies, ask, deadline) {
            Ok(found) => return Some(found),
            // It is still loading.
            Err(NoAnswer::Timeout) if !idle => return None,
            Err(NoAnswer::Timeout) => {
                terminal::log("rust-analyzer does not answer; starting it again");
            }
            Err(NoAnswer::Ended) => terminal::log("rust-analyzer has ended; starting it again"),
        }
        self.client = None;
        self.load();
        None
    }
}
