//! Runs the programs on the stand-ins and counts: `cargo xtask cuda-dry-run`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::cargo;
use crate::cuda_dry_run::count::{self, Counts};
use crate::cuda_dry_run::log::{self, Event};
use crate::cuda_dry_run::program::{self, StandIns};
use crate::cuda_dry_run::{optimizer, runs, stand_ins, table, text};
use crate::error::{Error, Result};
use crate::setup::{self, Libtorch};
use crate::{process, terminal, workspace};

/// The steps that are counted. Among the first 8, some allocate memory that later ones reuse.
const COUNTED: std::ops::Range<usize> = 8..8 + table::STEPS;

/// Count the kernels, copies and synchronizations of a training step, without a GPU
///
/// Runs the programs on stand-ins of the CUDA libraries, which compute nothing, and fails where a count is
/// above its limit. Installs libtorch's CUDA libraries (2.5 GB to download).
#[derive(Debug, clap::Args)]
pub struct CudaDryRun {
    /// Keep logs, text and outputs of the runs in this folder [default: only the logs, in
    /// target/cuda-dry-run]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Run nothing; count the log of an earlier run, DIR/entry.log of its --keep
    #[arg(long, value_name = "LOG", conflicts_with = "keep")]
    count: Option<PathBuf>,
}

impl CudaDryRun {
    pub fn run(self) -> Result<()> {
        if let Some(log) = &self.count {
            let events = log::read(log)?;
            let without_context = Counts::of(&events).without_context;
            return Outcome { without_context, ..Outcome::default() }.end(&events, None);
        }
        let begun = Instant::now();
        let libtorch = setup::run_with_cuda()?;
        terminal::note("building the programs");
        let build = |package, program| {
            let args = ["--release", "--package", package, "--bin", program];
            cargo::program(cargo::build(libtorch, "build", args)?, program)
        };
        let reproduce = build("qrnn", "reproduce")?;
        let bench = build("qrnn-bench", "qrnn-bench")?;
        terminal::note("building the stand-ins");
        let target = workspace::root().join("target");
        let real = real_libraries(libtorch)?;
        let place = target.join("cuda-stand-ins");
        let stand_ins = stand_ins::build(&place, &real)?;
        let libraries = [vec![place], real].concat();

        let folder = self.keep.clone().unwrap_or_else(|| target.join("cuda-dry-run"));
        let folder = std::path::absolute(&folder).map_err(Error::io(&folder, "find"))?;
        fs_err::create_dir_all(&folder)?;
        clear(&folder)?;
        let users = std::env::var_os("LD_LIBRARY_PATH");
        let on_stand_ins = StandIns {
            preload: program::search_path(&stand_ins, None),
            libraries: program::search_path(&libraries, users.as_deref()),
            folder: folder.clone(),
        };
        let mut all = Outcome::default();
        for (name, arguments) in runs::benches() {
            all.note(name, &on_stand_ins, &bench, &arguments)?;
        }
        for (name, arguments) in runs::small(&folder) {
            all.note(name, &on_stand_ins, &reproduce, &arguments)?;
        }
        terminal::note("generating a text with WikiText-103's word frequencies");
        let text = folder.join("text");
        let shares = text::write(&text, text::WORDS, text::SAMPLED, text::TYPES)?;
        let shares = shares.map(|share| format!("{:.2} %", 100.0 * share)).join(", ");
        terminal::show(format_args!("words of the text by cluster of the softmax: {shares}"));
        let steps = (COUNTED.end + 1) as u64; // the last step ends where one more begins
        let mut entry = None;
        for runs::Compared { names: [name, compressed], train, compress } in
            runs::compared(&folder, steps)
        {
            let training = all.note(name, &on_stand_ins, &reproduce, &train)?;
            let compression = all.note(compressed, &on_stand_ins, &reproduce, &compress)?;
            all.compare(compressed, &compression, &training)?;
            entry.get_or_insert(training);
        }
        terminal::note("counting the bytes of the optimizer");
        let printed = process::output(&mut cargo::after_setup(libtorch, optimizer::TEST))?;
        if self.keep.is_none() {
            // The logs stay, so that complaints can be looked up.
            clear(&folder)?;
        }
        terminal::note(format_args!("{:.0} s", begun.elapsed().as_secs_f64()));
        all.end(&entry.unwrap_or_default(), optimizer::bytes(&printed))
    }
}

/// The result of all runs.
#[derive(Default)]
struct Outcome {
    complaints: Vec<String>,
    without_context: usize,
    /// Of runs that compress a model, with their names.
    compressions: Vec<(String, Vec<table::Row>)>,
}

impl Outcome {
    fn note(
        &mut self,
        name: &str,
        on_stand_ins: &StandIns,
        program: &Path,
        arguments: &[OsString],
    ) -> Result<Vec<Event>> {
        let begun = Instant::now();
        let run = on_stand_ins.run(name, program, arguments)?;
        self.without_context += Counts::of(&run.events).without_context;
        terminal::show(format_args!(
            "{name:<20} {:6.1} s, {} events, {}",
            begun.elapsed().as_secs_f64(),
            run.events.len(),
            if run.complaints.is_empty() { "completed" } else { "FAILED" }
        ));
        self.complaints.extend(run.complaints.iter().map(|what| format!("{name}: {what}")));
        Ok(run.events)
    }

    /// Compares the steps of a run that compresses a model with those of its training. Its masks are updated before
    /// the steps that count.
    fn compare(&mut self, name: &str, compression: &[Event], training: &[Event]) -> Result<()> {
        let rows = table::beside_training(&counts(compression, name)?, &counts(training, name)?);
        let exceeded = rows.iter().filter(|row| row.is_exceeded());
        let complaint = |row: &table::Row| format!("{name}: more than in training: {}", row.what);
        self.complaints.extend(exceeded.map(complaint));
        self.compressions.push((name.to_owned(), rows));
        Ok(())
    }

    /// Counts the entry's steps, prints the tables, and fails where anything was wrong.
    fn end(mut self, entry: &[Event], optimizer_bytes: Option<f64>) -> Result<()> {
        let counts = counts(entry, "entry")?;
        let rows = table::rows(&counts, self.without_context, optimizer_bytes);
        let (first, last) = (COUNTED.start + 1, COUNTED.end);
        terminal::print(format_args!("bf16 steps {first} to {last} of the entry"))?;
        terminal::print(table::shown(&rows))?;
        for event in count::notable(entry, COUNTED) {
            terminal::print(event)?;
        }
        for (name, rows) in &self.compressions {
            terminal::print(format_args!("\n{name}, beside its training"))?;
            terminal::print(table::shown(rows).trim_end())?;
        }
        terminal::print(format_args!("\n{}", table::breakdown(&counts).trim_end()))?;
        let exceeded = rows.iter().filter(|row| row.is_exceeded());
        self.complaints.extend(exceeded.map(|row| format!("above its limit: {}", row.what)));
        if self.complaints.is_empty() {
            return Ok(());
        }
        let remedy = "run it with --keep DIR, and read the logs in DIR";
        Err(Error::failed(self.complaints.join("\n"), remedy))
    }
}

/// The counts of the steps of a run that are counted.
fn counts(events: &[Event], name: &str) -> Result<Counts> {
    count::steps(events, COUNTED).map(Counts::of).ok_or_else(|| {
        Error::machine(
            format!("the log {name}.log has fewer than {} steps", COUNTED.end + 1),
            format!("run it again with --keep DIR, and read DIR/{name}.err"),
        )
    })
}

/// The folders of the real CUDA libraries: those of set-up, or those beside the user's libtorch.
fn real_libraries(libtorch: Libtorch) -> Result<Vec<PathBuf>> {
    let linked = libtorch.folder();
    // The user's may be laid out like `.libtorch`, or like Python's site-packages/torch.
    let above = linked.parent().map(PathBuf::from).unwrap_or_default();
    let roots = [linked, above.join("cuda"), above];
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

/// Deletes the text and the run folders, which take more than a gigabyte, and the compiled kernels.
fn clear(folder: &Path) -> Result<()> {
    for name in runs::FOLDERS.into_iter().chain([program::CACHE]) {
        let inner = folder.join(name);
        if inner.exists() {
            fs_err::remove_dir_all(&inner)?;
        }
    }
    Ok(())
}
