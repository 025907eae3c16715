//! The process of rust-analyzer: questions on standard input, answers on standard output.

use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};

use crate::analysis::host::Host;
use crate::analysis::protocol::{Answer, Ask, Completions, Found, Question};
use crate::analysis::{completion, inspection, project};
use crate::log;

/// Tells this program that it is to be that process; the folder for its manifest follows.
pub const ROLE: &str = "analysis";

/// rust-analyzer recurses deeply.
const STACK: usize = 256 << 20;

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
}

fn answer(folder: &Path, questions: &Receiver<Question>) {
    let mut loaded: Option<Loaded> = None;
    for Question { id, dependencies, ask } in questions {
        let mut now = match loaded.take() {
            Some(loaded) if loaded.dependencies == dependencies => loaded,
            Some(loaded) => load(folder, loaded.host, dependencies),
            None => load(folder, Host::new(), dependencies),
        };
        let result = catch_unwind(AssertUnwindSafe(|| found(&mut now.host, &ask)));
        let found = result.unwrap_or_else(|_| nothing(&ask));
        loaded = Some(now);
        let line = serde_json::to_string(&Answer { id, found }).unwrap_or_default();
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn found(host: &mut Host, ask: &Ask) -> Found {
    match ask {
        Ask::Load => Found::Loaded,
        Ask::Complete { text, offset } => {
            host.set_text(text.clone());
            Found::Completions(completion::complete(host, *offset))
        }
        Ask::Inspect { text, offset, detailed } => {
            host.set_text(text.clone());
            Found::Inspection(inspection::inspect(host, *offset, *detailed))
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
    match project::ask(folder, &dependencies).map(project::Asked::project) {
        // Cargo cannot find one of them; what is known of the others stays.
        Ok(project) if project.named.is_empty() && !dependencies.is_empty() && host.is_loaded() => {
        }
        Ok(project) => match host.load(&project) {
            Ok(()) => warm(&mut host),
            Err(error) => log::line(&format!("rust-analyzer cannot read the sources: {error}")),
        },
        Err(error) => log::line(&format!("rust-analyzer cannot find the sources: {error}")),
    }
    Loaded { host, dependencies }
}

/// Has rust-analyzer work out what every answer is made of, before anyone waits for it.
fn warm(host: &mut Host) {
    const SAMPLES: [&str; 3] = [
        "fn f() { let v = vec![String::new()]; v.iter().map(|s| s.len()).CURSOR; }",
        "fn f() { let v = vec![1]; v.CURSOR; }",
        "use qrnn::prelude::*; fn f() { TrCURSOR; }",
    ];
    for sample in SAMPLES {
        let offset = sample.find("CURSOR").unwrap_or_default();
        host.set_text(sample.replace("CURSOR", ""));
        let _ = catch_unwind(AssertUnwindSafe(|| completion::complete(host, offset)));
    }
}
