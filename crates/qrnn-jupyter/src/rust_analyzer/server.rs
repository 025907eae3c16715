//! The process of rust-analyzer: questions on standard input, answers on standard output.

use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, TryRecvError};

use crate::log;
use crate::rust_analyzer::database::Host;
use crate::rust_analyzer::outline_cache::Outlines;
use crate::rust_analyzer::wire::{Answer, Ask, Completions, Found, Question};
use crate::rust_analyzer::{completion, inspection, prefetch, project, project_cache};

/// Tells this program that it is to be that process; the folder for its manifest follows.
pub const ROLE: &str = "analysis";

/// rust-analyzer recurses deeply.
pub const STACK: usize = 256 << 20;

/// Until standard input ends, which it does with the kernel.
pub fn run(folder: &Path) -> ExitCode {
    let (questions, incoming) = mpsc::channel();
    let folder = folder.to_owned();
    let answering = std::thread::Builder::new().stack_size(STACK);
    if answering.spawn(move || answer(&folder, &incoming)).is_err() {
        return ExitCode::FAILURE;
    }
    for line in std::io::stdin().lock().lines() {
        match line.map(|line| serde_json::from_str::<Question>(&line)) {
            Ok(Ok(question)) => {
                if questions.send(question).is_err() {
                    return ExitCode::FAILURE;
                }
            }
            Ok(Err(problem)) => log::line(&format!("rust-analyzer was asked nonsense: {problem}")),
            Err(_) => break,
        }
    }
    // At once, whatever is being computed.
    std::process::exit(0)
}

/// What has been read, and of which dependencies.
struct Loaded {
    host: Host,
    dependencies: String,
    /// What rust-analyzer is still to work out before it is said to be loaded.
    cold: &'static [&'static str],
}

/// Each makes rust-analyzer work out what many answers are made of: the standard library, the traits
/// of closures and iterators, qrnn, tch.
const SAMPLES: [&str; 4] = [
    "fn f() { let v = vec![1]; v.CURSOR; }",
    "fn f() { let v = vec![String::new()]; v.iter().map(|s| s.len()).CURSOR; }",
    "use qrnn::prelude::*; fn f() { TrCURSOR; }",
    "fn f(t: tch::Tensor) { t.CURSOR; }",
];

fn answer(folder: &Path, questions: &Receiver<Question>) {
    let mut loaded = Loaded { host: Host::new(), dependencies: String::new(), cold: &[] };
    // Questions to load, which are answered when nothing is cold.
    let mut owed: Vec<u64> = vec![];
    loop {
        let question = match (questions.try_recv(), loaded.cold) {
            (Ok(question), _) => question,
            (Err(TryRecvError::Disconnected), _) => return,
            // Nobody waits: time to work ahead.
            (Err(TryRecvError::Empty), [sample, rest @ ..]) => {
                warm(&mut loaded.host, sample);
                loaded.cold = rest;
                continue;
            }
            (Err(TryRecvError::Empty), []) => {
                if !owed.drain(..).all(|id| say(Answer { id, found: Found::Loaded })) {
                    return;
                }
                match questions.recv() {
                    Ok(question) => question,
                    Err(_) => return,
                }
            }
        };
        let Question { id, dependencies, ask } = question;
        if !loaded.host.is_loaded() || loaded.dependencies != dependencies {
            loaded = load(folder, loaded.host, dependencies);
        }
        if let Ask::Load = ask {
            owed.push(id);
            continue;
        }
        let result = catch_unwind(AssertUnwindSafe(|| found(&mut loaded.host, &ask)));
        let found = result.unwrap_or_else(|_| nothing(&ask));
        if !say(Answer { id, found }) {
            return;
        }
    }
}

/// Whether anybody hears it.
fn say(answer: Answer) -> bool {
    let line = serde_json::to_string(&answer).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

fn found(host: &mut Host, ask: &Ask) -> Found {
    match ask {
        Ask::Load => Found::Loaded,
        Ask::Complete { text, offset } => {
            host.set_text(text.clone());
            let complete = |host: &mut Host| completion::complete(host, *offset);
            Found::Completions(prefetch::beside(host, complete))
        }
        Ask::Inspect { text, offset, detailed } => {
            host.set_text(text.clone());
            let inspect = |host: &mut Host| inspection::inspect(host, *offset, *detailed);
            Found::Inspection(prefetch::beside(host, inspect))
        }
    }
}

/// The answer where rust-analyzer came to grief.
fn nothing(ask: &Ask) -> Found {
    match ask {
        Ask::Load => Found::Loaded,
        Ask::Complete { offset, .. } => {
            Found::Completions(Completions { start: *offset, end: *offset, items: vec![] })
        }
        Ask::Inspect { .. } => Found::Inspection(None),
    }
}

fn load(folder: &Path, mut host: Host, dependencies: String) -> Loaded {
    let mut cold: &[&str] = &[];
    let project = match project_cache::read(folder, &dependencies) {
        Some(project) => Ok(project),
        None => project::ask(folder, &dependencies).map(project::Asked::project),
    };
    match project {
        // Cargo cannot find one of them; what is known of the others stays.
        Ok(project) if project.named.is_empty() && !dependencies.is_empty() && host.is_loaded() => {
        }
        Ok(project) => match host.load(&project, &Outlines::read(folder)) {
            Ok(()) => cold = &SAMPLES,
            Err(error) => log::line(&format!("rust-analyzer cannot read the sources: {error}")),
        },
        Err(error) => log::line(&format!("rust-analyzer cannot find the sources: {error}")),
    }
    Loaded { host, dependencies, cold }
}

fn warm(host: &mut Host, sample: &str) {
    let offset = sample.find("CURSOR").unwrap_or_default();
    host.set_text(sample.replace("CURSOR", ""));
    let complete = || prefetch::beside(host, |host| completion::complete(host, offset));
    let _ = catch_unwind(AssertUnwindSafe(complete));
}
