//! `cargo xtask cuda-dry-run`

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use crate::dry_run::count::{self, Counts};
use crate::dry_run::log::Event;
use crate::dry_run::program::{self, Ends, Program};
use crate::dry_run::{optimizer, stand_ins, table, text};
use crate::error::{Error, Result};
use crate::setup::{self, Libtorch};
use crate::{cargo, pins};

/// A text to train on, where --text names none.
const TEXT: &str = "../shared/data/wikitext-103/valid.txt";

/// The steps that are counted: of the first 8, some take memory that later ones find.
const COUNTED: std::ops::Range<usize> = 8..8 + table::STEPS;

/// Run the program on a GPU that computes nothing, and count what a real one would be asked to do;
/// brings libtorch's CUDA part (2.5 GB to download)
#[derive(Debug, clap::Args)]
pub struct CudaDryRun {
    /// Leave logs, text and outputs of the runs in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The text whose copies are trained on [default: WikiText-103's validation text where
    /// ../shared has it, else one that is made by its law]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
}

impl CudaDryRun {
    pub fn run(self) -> Result<ExitCode> {
        let begun = Instant::now();
        let libtorch = setup::run_with_cuda()?;
        eprintln!("building the program");
        let Some(path) = build_program(libtorch)? else { return Ok(ExitCode::FAILURE) };
        eprintln!("building the stand-ins");
        let target = setup::root().join("target");
        let real = real_libraries(libtorch)?;
        let stand_ins = stand_ins::build(&target.join("cuda-stand-ins"), &real)?;

        let folder = self.keep.clone().unwrap_or_else(|| target.join("cuda-dry-run"));
        let folder = std::path::absolute(&folder).map_err(Error::io(&folder, "find"))?;
        create_empty(&folder)?;
        let users = std::env::var_os("LD_LIBRARY_PATH");
        let program = Program {
            path,
            stand_ins: stand_ins::preload(&stand_ins),
            libraries: program::search_path(&real, users.as_deref()),
            folder: folder.clone(),
        };
        let mut all = Outcome::default();
        for (name, ends, arguments) in small_runs(&folder) {
            all.note(name, &program, &arguments, ends)?;
        }
        self.write_text(&folder.join("text"))?;
        let entry = all.note("entry", &program, &entry_run(&folder), Ends::Well)?;
        let Some(steps) = count::steps(&entry, COUNTED) else {
            return Err(Error::machine(
                format!("the log of the entry's run has not {} steps", COUNTED.end + 1),
                "run it again with --keep DIR, and see what DIR/entry.err says",
            ));
        };
        eprintln!("counting the bytes of the optimizer");
        let optimizer_bytes = optimizer::bytes(&cargo::said(libtorch, optimizer::TEST)?);
        let counts = Counts::of(steps);
        let rows = table::rows(&counts, all.without_context, optimizer_bytes);
        println!("bf16 steps {} to {} of the entry", COUNTED.start + 1, COUNTED.end);
        print!("{}\n{}", table::shown(&rows), table::breakdown(&counts));
        if self.keep.is_none() {
            std::fs::remove_dir_all(&folder).map_err(Error::io(&folder, "delete"))?;
        }
        eprintln!("{:.0} s", begun.elapsed().as_secs_f64());
        for row in rows.iter().filter(|row| row.is_exceeded()) {
            all.complaints.push(format!("above its limit: {}", row.what));
        }
        for complaint in &all.complaints {
            eprintln!("error: {complaint}");
        }
        Ok(if all.complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn write_text(&self, folder: &Path) -> Result<()> {
        let default = setup::root().join(TEXT);
        let base = match &self.text {
            Some(path) => Some(path.as_path()),
            None => Some(default.as_path()).filter(|path| path.exists()),
        };
        let shares = match base {
            Some(path) => {
                eprintln!("making a text of {} copies of {}", text::COPIES, path.display());
                let read = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
                text::write(folder, &read, text::COPIES, text::TYPES)?
            }
            None => {
                eprintln!("making a text by the law of WikiText-103's word frequencies");
                text::write(folder, &text::by_law(text::WORDS, text::TYPES), 1, text::TYPES)?
            }
        };
        let shares = shares.map(|share| format!("{:.2} %", 100.0 * share));
        println!("words of the text by cluster of the softmax: {}", shares.join(", "));
        Ok(())
    }
}

/// What all runs came to.
#[derive(Default)]
struct Outcome {
    complaints: Vec<String>,
    without_context: usize,
}

impl Outcome {
    fn note(
        &mut self,
        name: &str,
        program: &Program,
        arguments: &[OsString],
        ends: Ends,
    ) -> Result<Vec<Event>> {
        let begun = Instant::now();
        let run = program.run(name, arguments, ends)?;
        let without_context = Counts::of(&run.events).without_context;
        self.without_context += without_context;
        println!(
            "{name:<10} {:6.1} s, {} events, {}",
            begun.elapsed().as_secs_f64(),
            run.events.len(),
            if run.complaints.is_empty() { "to its end" } else { "NOT as it should be" }
        );
        self.complaints.extend(run.complaints.iter().map(|what| format!("{name}: {what}")));
        Ok(run.events)
    }
}

/// The program's path; `None` where cargo failed, and has said why.
fn build_program(libtorch: Libtorch) -> Result<Option<PathBuf>> {
    let build = ["build", "--release", "--bin", "reproduce"];
    let messages = ["--message-format", "json-render-diagnostics"];
    let Some(built) = cargo::built(libtorch, build.into_iter().chain(messages))? else {
        return Ok(None);
    };
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name == "reproduce");
    let program = built.into_iter().find(named);
    program.map(Some).ok_or_else(|| Error::machine("cargo built no reproduce", "report this"))
}

/// The folders that hold the CUDA libraries: our set-up's, or those beside a libtorch of the user's.
fn real_libraries(libtorch: Libtorch) -> Result<Vec<PathBuf>> {
    let home = setup::root().join(".libtorch");
    let roots = match libtorch {
        Libtorch::Ours => vec![home.join("current"), home.join(pins::CUDA.folder)],
        Libtorch::Theirs => {
            let theirs: PathBuf = std::env::var_os("LIBTORCH").unwrap_or_default().into();
            // As `.libtorch` has it, and as Python has it: site-packages/torch.
            let above = theirs.parent().map(PathBuf::from).unwrap_or_default();
            vec![theirs, above.join("cuda"), above]
        }
    };
    let places = ["lib", "torch/lib", "nvidia/cu13/lib"];
    let folders = roots.iter().flat_map(|root| places.map(|place| root.join(place)));
    let folders: Vec<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
    for library in ["libcudart.so.13", "libcublas.so.13", "libtorch_cuda.so"] {
        if !folders.iter().any(|folder| folder.join(library).exists()) {
            return Err(Error::machine(
                format!("no {library} beside libtorch"),
                "unset LIBTORCH to have libtorch's CUDA part installed here",
            ));
        }
    }
    Ok(folders)
}

fn create_empty(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    for name in ["text", "small", "entry"] {
        let inner = folder.join(name);
        if inner.exists() {
            std::fs::remove_dir_all(&inner).map_err(Error::io(&inner, "delete"))?;
        }
    }
    Ok(())
}

/// The runs that only have to come to their ends, small enough for seconds each.
fn small_runs(folder: &Path) -> Vec<(&'static str, Ends, Vec<OsString>)> {
    const BENCH: &str = "--device cuda --python /none --json";
    const TRAIN: &str = "train --device cuda --emsize 24 --nhid 40 --nlayers 2 --bptt 20 \
                         --batch-size 8 --splits 200,1000";
    let words = |words: String| words.split_whitespace().map(OsString::from).collect();
    let bench = |arguments: &str| -> Vec<OsString> { words(format!("bench {arguments} {BENCH}")) };
    let train = |arguments: &str| -> Vec<OsString> {
        let mut all: Vec<OsString> = words(format!("{TRAIN} {arguments} --out"));
        all.push(folder.join("small").into());
        all
    };
    let pool = bench("pool --seq 20 --batch 4 --hidden 64 --runs 3");
    let step = bench(
        "step --models 24-40-split --types 3000 --splits 200,1000 --batch-size 8 --bptt 20 --steps 16",
    );
    let evaluate = bench("evaluate --types 3000 --tokens 2000 --runs 1 --model 24-40");
    vec![
        ("pool", Ends::Far, pool),
        ("step", Ends::Well, step),
        ("evaluate", Ends::Well, evaluate),
        ("train", Ends::Well, train("--steps 40")),
        ("resume", Ends::Well, train("--steps 80 --resume")),
    ]
}

/// The entry's run, long enough for the steps that are counted and one more.
fn entry_run(folder: &Path) -> Vec<OsString> {
    let steps = (COUNTED.end + 1).to_string(); // the one more tells where the last one ends
    let words = [
        "train",
        "--device",
        "cuda",
        "--precision",
        "bf16",
        "--fixed-bptt",
        "--bptt",
        "300",
        "--batch-size",
        "40",
        "--steps",
        &steps,
    ];
    let mut arguments: Vec<OsString> = words.map(OsString::from).into();
    arguments.extend(["--data".into(), folder.join("text").into_os_string()]);
    arguments.extend(["--out".into(), folder.join("entry").into_os_string()]);
    arguments
}
