//! The rust-analyzer process: questions on standard input, answers on standard output.

use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, TryRecvError};

use crate::rust_analyzer::database::{Database, STACK_SIZE};
use crate::rust_analyzer::wire::{Answer, Ask, Completions, Found, Question};
use crate::rust_analyzer::{
    completion, inspection, outline_cache, prefetch, project, project_cache,
};
use crate::{json_file, terminal};

/// Runs until standard input is closed, which happens when the kernel ends.
pub fn run(folder: &Path) -> ExitCode {
    let (questions, incoming) = mpsc::channel();
    let folder = folder.to_owned();
    let thread = std::thread::Builder::new().stack_size(STACK_SIZE);
    if thread.spawn(move || answer_all(&folder, &incoming)).is_err() {
        return ExitCode::FAILURE;
    }
    for line in std::io::stdin().lock().lines() {
        match line.map(|line| serde_json::from_str::<Question>(&line)) {
            Ok(Ok(question)) => {
                if questions.send(question).is_err() {
                    return ExitCode::FAILURE;
                }
            }
            Ok(Err(error)) => {
                terminal::log(format_args!("rust-analyzer got a malformed question: {error}"));
            }
            Err(_) => break,
        }
    }
    // Ends at once, also in the middle of an answer.
    std::process::exit(0)
}

struct Loaded {
    database: Database,
    dependencies: String,
    /// Samples that are still to be completed before the crates count as loaded.
    samples: &'static [&'static str],
}

/// Completing these makes rust-analyzer compute what most answers need: the standard library, the
/// traits of closures and iterators, qrnn, tch.
const SAMPLES: [&str; 4] = [
    "fn f() { let v = vec![1]; v.CURSOR; }",
    "fn f() { let v = vec![String::new()]; v.iter().map(|s| s.len()).CURSOR; }",
    "use qrnn::prelude::*; fn f() { TrCURSOR; }",
    "fn f(t: tch::Tensor) { t.CURSOR; }",
];

fn answer_all(folder: &Path, questions: &Receiver<Question>) {
    let mut loaded =
        Loaded { database: Database::new(), dependencies: String::new(), samples: &[] };
    // Questions to load, which are answered after the samples.
    let mut loads: Vec<u64> = vec![];
    loop {
        let question = match (questions.try_recv(), loaded.samples) {
            (Ok(question), _) => question,
            (Err(TryRecvError::Disconnected), _) => return,
            (Err(TryRecvError::Empty), [sample, rest @ ..]) => {
                let offset = sample.find("CURSOR").unwrap_or_default();
                let text = sample.replace("CURSOR", "");
                answer(&mut loaded.database, Ask::Complete { text, offset });
                loaded.samples = rest;
                continue;
            }
            (Err(TryRecvError::Empty), []) => {
                if !loads.drain(..).all(|id| send(Answer { id, found: Found::Loaded })) {
                    return;
                }
                match questions.recv() {
                    Ok(question) => question,
                    Err(_) => return,
                }
            }
        };
        let Question { id, dependencies, ask } = question;
        if !loaded.database.is_loaded() || loaded.dependencies != dependencies {
            loaded = load(folder, loaded.database, dependencies);
        }
        if let Ask::Load = ask {
            loads.push(id);
            continue;
        }
        if !send(Answer { id, found: answer(&mut loaded.database, ask) }) {
            return;
        }
    }
}

/// Whether the kernel still reads.
fn send(answer: Answer) -> bool {
    let line = serde_json::to_string(&answer).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

fn answer(database: &mut Database, ask: Ask) -> Found {
    match ask {
        Ask::Load => Found::Loaded,
        Ask::Complete { text, offset } => {
            let complete = |database: &mut Database| completion::complete(database, offset);
            let found = with_text(database, text, complete);
            Found::Completions(found.unwrap_or_else(|| Completions::none(offset)))
        }
        Ask::Inspect { text, offset, detailed } => {
            let inspect = |database: &mut Database| inspection::inspect(database, offset, detailed);
            Found::Inspection(with_text(database, text, inspect).flatten())
        }
    }
}

/// Works on this text; `None` if rust-analyzer panics.
fn with_text<T>(
    database: &mut Database,
    text: String,
    work: impl FnOnce(&mut Database) -> T,
) -> Option<T> {
    let work = || {
        database.set_text(text);
        prefetch::during(database, work)
    };
    catch_unwind(AssertUnwindSafe(work)).ok()
}

fn load(folder: &Path, mut database: Database, dependencies: String) -> Loaded {
    let mut samples: &[&str] = &[];
    let project = match project_cache::read(folder, &dependencies) {
        Some(project) => Ok(project),
        None => project::find(folder, &dependencies),
    };
    match project {
        // Cargo cannot resolve a dependency. What is loaded already stays.
        Ok(project)
            if project.named.is_empty() && !dependencies.is_empty() && database.is_loaded() => {}
        Ok(project) => {
            match database.load(&project, &json_file::read(&folder.join(outline_cache::FILE))) {
                Ok(()) => samples = &SAMPLES,
                Err(error) => {
                    terminal::log(format_args!("rust-analyzer cannot read the sources: {error}"));
                }
            }
        }
        Err(error) => {
            terminal::log(format_args!("rust-analyzer cannot find the sources: {error}"));
        }
    }
    Loaded { database, dependencies, samples }
}
