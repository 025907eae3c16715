//! Answers requests for completion and inspection, beside the cells.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jupyter_protocol::JupyterMessage;
use tokio::sync::mpsc::UnboundedSender;

use crate::cells::completeness;
use crate::child::workdir::Session;
use crate::log;
use crate::protocol::message::{Publisher, Request};
use crate::rust_analyzer::client::{Engine, Silence};
use crate::rust_analyzer::notebook_text::Notebook;
use crate::rust_analyzer::project_cache;
use crate::rust_analyzer::replies::{self, Cursor};
use crate::rust_analyzer::wire::{Ask, Found, Inspection};
use crate::toolchain::preload::Preload;

/// Who asks before the sources are read waits so long for them.
const PATIENCE: Duration = Duration::from_secs(8);

/// For the manifest that cargo is asked about, in the kernel's folder.
const FOLDER: &str = "analysis";

/// What the notebook knows, told by those who run its cells.
#[derive(Debug, Clone)]
pub struct Known {
    notebook: Arc<Mutex<Notebook>>,
    commands: Arc<Mutex<Vec<String>>>,
    work: Sender<Work>,
}

#[derive(Debug)]
enum Work {
    Answer(Request, Instant),
    Describe(String, Sender<Option<Inspection>>),
    /// A cell has ended; it may have brought dependencies.
    Ran,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// Takes a request; false where it is for somebody else. A cell is noted and left to them.
    pub fn takes(&self, request: &Request) -> bool {
        match request.kind() {
            "complete_request" | "inspect_request" => {
                self.work.send(Work::Answer(request.clone(), Instant::now())).is_ok()
            }
            "execute_request" => {
                let code = request.text("code").unwrap_or_default();
                lock(&self.notebook).expect(&request.header.msg_id, code);
                false
            }
            _ => false,
        }
    }

    /// A cell has been answered.
    pub fn forget(&self, request: &Request) {
        lock(&self.notebook).forget(&request.header.msg_id);
    }

    /// A cell has ended. Its items are defined where `code` is given; these variables are there now.
    pub fn ran<'a>(&self, code: Option<&str>, variables: impl Iterator<Item = (&'a str, &'a str)>) {
        let variables = variables.map(|(name, ty)| (name.to_owned(), ty.to_owned()));
        let mut notebook = lock(&self.notebook);
        if let Some(code) = code {
            notebook.define(code);
        }
        notebook.set_variables(variables.collect());
        drop(notebook);
        let _ = self.work.send(Work::Ran);
    }

    /// The evaluator's commands, `:help` and others.
    pub fn set_commands(&self, commands: Vec<String>) {
        *lock(&self.commands) = commands;
    }

    /// What is known about a path, `std::vec::Vec`.
    pub fn describe(&self, path: &str) -> Option<Inspection> {
        let (answer, wait) = mpsc::channel();
        self.work.send(Work::Describe(path.to_owned(), answer)).ok()?;
        wait.recv().ok().flatten()
    }
}

/// The thread behind it.
pub struct Analyst {
    /// The program that is rust-analyzer too, and the kernel's folder; without them nothing is found.
    place: Option<(PathBuf, Arc<Session>)>,
    publisher: Publisher,
    replies: UnboundedSender<JupyterMessage>,
    notebook: Arc<Mutex<Notebook>>,
    commands: Arc<Mutex<Vec<String>>>,
    /// As a manifest names them: the crates that are preloaded.
    preloaded: String,
    engine: Option<Engine>,
    /// What it was last told of the dependencies.
    dependencies: String,
}

impl Analyst {
    /// Starts the thread, and rust-analyzer, which reads the standard library while the kernel waits
    /// for its first cell.
    ///
    /// # Errors
    /// Where there can be no more threads.
    pub fn start(
        place: Option<(PathBuf, Arc<Session>)>,
        publisher: Publisher,
        replies: UnboundedSender<JupyterMessage>,
    ) -> std::io::Result<Known> {
        let (work, incoming) = mpsc::channel();
        let notebook = Arc::new(Mutex::new(Notebook::default()));
        let commands = Arc::new(Mutex::new(vec![]));
        let known = Known { notebook: notebook.clone(), commands: commands.clone(), work };
        let mut analyst = Self {
            place,
            publisher,
            replies,
            notebook,
            commands,
            preloaded: String::new(),
            engine: None,
            dependencies: String::new(),
        };
        let work = move || {
            analyst.prepare();
            analyst.run(&incoming);
        };
        std::thread::Builder::new().name("analyst".into()).spawn(work)?;
        Ok(known)
    }

    fn prepare(&mut self) {
        let Some((program, session)) = &self.place else { return };
        let folder = session.folder().join(FOLDER);
        if let Err(error) = std::fs::create_dir_all(&folder) {
            log::line(&format!("{}: cannot create: {error}", folder.display()));
            return;
        }
        if let Ok(preload) = Preload::find(program)
            && let (Some(lock), Some(dependencies)) = (preload.lock(), preload.dependencies())
            && std::fs::copy(lock, folder.join("Cargo.lock")).is_ok()
        {
            self.preloaded = dependencies;
            // What is missing is found out now.
            for name in project_cache::FILES {
                let _ = std::fs::copy(preload.folder().join(name), folder.join(name));
            }
        }
        self.load();
    }

    fn run(&mut self, incoming: &Receiver<Work>) {
        for work in incoming {
            match work {
                Work::Answer(request, since) => self.answer(&request, since + PATIENCE),
                Work::Describe(path, answer) => {
                    let found = self.inspect(&path, path.len(), false, Instant::now() + PATIENCE);
                    let _ = answer.send(found);
                }
                Work::Ran => self.load(),
            }
        }
    }

    fn answer(&mut self, request: &Request, deadline: Instant) {
        self.publisher.status("busy", Some(&request.header));
        let reply = match Cursor::of(request) {
            None => request.refusal("BadRequest", "no code or no cursor_pos"),
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
        self.publisher.idle_beside(&request.header);
    }

    fn complete(&mut self, cursor: &Cursor, deadline: Instant) -> serde_json::Value {
        if let Some(command) = cursor.command() {
            return replies::commands(cursor, command, &lock(&self.commands));
        }
        let (text, start) = lock(&self.notebook).with(&cursor.code);
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
        let blank = completeness::without_commands(code);
        let (before, behind) = blank.split_at_checked(byte)?;
        let mut beside = before.chars().next_back().into_iter().chain(behind.chars().next());
        if beside.all(char::is_whitespace) {
            return None;
        }
        let (text, start) = lock(&self.notebook).with(code);
        match self.ask(Ask::Inspect { text, offset: start + byte, detailed }, deadline) {
            Some(Found::Inspection(found)) => found,
            _ => None,
        }
    }

    /// Has rust-analyzer read what is new, and does not wait.
    fn load(&mut self) {
        let Some((program, session)) = &self.place else { return };
        let manifest = std::fs::read_to_string(session.folder().join("Cargo.toml"));
        let added = manifest.map(|text| replies::dependencies(&text)).unwrap_or_default();
        // The preloaded crates, and those that cells have asked for.
        let dependencies = format!("{}{added}", self.preloaded);
        if self.engine.is_none() || dependencies != self.dependencies {
            self.dependencies = dependencies;
            let started = match self.engine.take() {
                Some(engine) => Ok(engine),
                None => Engine::start(program, &session.folder().join(FOLDER)),
            };
            match started {
                Ok(mut engine) => {
                    let sent = engine.send(&self.dependencies, Ask::Load);
                    self.engine = sent.is_some().then_some(engine);
                }
                Err(error) => log::line(&error.to_string()),
            }
        }
    }

    fn ask(&mut self, ask: Ask, deadline: Instant) -> Option<Found> {
        self.load();
        let engine = self.engine.as_mut()?;
        let idle = engine.is_idle();
        match engine.ask(&self.dependencies, ask, deadline) {
            Ok(found) => return Some(found),
            // It is still reading; who asks next finds it further on.
            Err(Silence::Late) if !idle => return None,
            Err(Silence::Late) => log::line("rust-analyzer does not answer; it is started anew"),
            Err(Silence::Ended) => log::line("rust-analyzer has ended; it is started anew"),
        }
        self.engine = None;
        self.load();
        None
    }
}
