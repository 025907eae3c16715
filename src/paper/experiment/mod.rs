//! The paper's experiment: trains every row of the table and every sequence length of the figure, at full
//! or reduced size, with one or several seeds, and compares the results with the published ones.
//!
//! - `plan`: which runs rows, lengths and seeds need; `scale`: their sizes and recipe
//! - `training`: trains what is missing; `run`: a finished run; `folder`: where runs are kept
//! - `gather`: results of the finished runs; `report`: of runs that lie in several folders

mod commit;
mod folder;
mod gather;
mod plan;
mod report;
mod run;
mod scale;
#[cfg(test)]
mod tests;
mod training;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

pub use report::gather as gather_folders;
pub use scale::{DEFAULT_DIVISOR, Scale};
use tch::Device;

use self::folder::Folder;
use self::gather::Requested;
use self::plan::Plan;
use self::run::Circumstances;
use self::training::Training;
use crate::data::{Corpus, Split};
use crate::interrupt::Interrupt;
use crate::paper::results::{self, Machine, Origin, ReproduceResults};
use crate::progress::{Progress, Task, Unit};
use crate::{Result, paper};
use qrnn_ops::matmul::Precision;

/// Settings of the experiment.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Names ([`paper::Row::name`]) of the rows of the table to train.
    pub rows: Vec<String>,
    /// Published sequence lengths ([`paper::LENGTHS`]) of the figure to train.
    pub lengths: Vec<usize>,
    pub scale: Scale,
    /// The first seed of initial weights, dropout masks and sequence lengths.
    pub seed: u64,
    /// Number of seeds: `seed`, `seed + 1` and so on.
    pub seeds: usize,
    pub device: Device,
    pub precision: Precision,
    /// Where each run has its folder; `None` to keep nothing.
    pub folder: Option<PathBuf>,
    /// Whether runs that are in the folder are trained anew.
    pub overwrite: bool,
    /// Command line that repeats the experiment, for the report.
    pub command: String,
    /// Stops every run after its current step; results so far are returned.
    pub interrupt: Interrupt,
}

/// Receives the results so far, at the beginning and after each run.
pub type Update<'a> = dyn FnMut(&ReproduceResults) -> Result<()> + Send + 'a;

impl Experiment {
    /// The whole table and the figure. Trains on the CPU; at full size, on the GPU if one is usable.
    pub fn new(scale: Scale) -> Self {
        let device = match scale {
            Scale::Full => qrnn_ops::device::cuda_or_cpu().0,
            Scale::Medium | Scale::Reduced(_) => Device::Cpu,
        };
        Self {
            rows: paper::ROWS.map(|row| row.name.to_owned()).into(),
            lengths: paper::LENGTHS.map(|length| length.bptt).into(),
            scale,
            seed: crate::model::DEFAULT_SEED,
            seeds: 1,
            device,
            precision: Precision::automatic(device, scale.layer_multiplications()),
            folder: None,
            overwrite: false,
            command: "a notebook".into(),
            interrupt: Interrupt::default(),
        }
    }

    /// Only the table: the rows with these names ([`paper::Row::name`]), or all if `rows` is empty.
    pub fn table(scale: Scale, rows: &[&str]) -> Self {
        let all = Self { lengths: vec![], ..Self::new(scale) };
        match rows {
            [] => all,
            _ => Self { rows: rows.iter().map(|&name| name.to_owned()).collect(), ..all },
        }
    }

    /// Only the figure of perplexity against sequence length.
    pub fn lengths(scale: Scale) -> Self {
        Self { rows: vec![], ..Self::new(scale) }
    }

    /// Sets the first seed.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Trains each model with this number of seeds, for means and error bars.
    pub fn seeds(self, seeds: usize) -> Self {
        Self { seeds, ..self }
    }

    /// Keeps each run in a folder of its own in `folder`, with results.json, report and plots beside them. The
    /// same experiment in the same folder goes on where it was.
    pub fn folder(self, folder: impl AsRef<Path>) -> Self {
        Self { folder: Some(folder.as_ref().into()), ..self }
    }

    /// Trains runs that are in the folder anew; runs of another scale or text are deleted.
    pub fn overwrite(self, overwrite: bool) -> Self {
        Self { overwrite, ..self }
    }

    /// Stops every run after its current step on request. The interrupt button of a notebook works without this.
    pub fn interrupt(self, interrupt: Interrupt) -> Self {
        Self { interrupt, ..self }
    }

    /// Checks names, lengths and seeds, and that the folder can be written and holds nothing else.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for a row or length that is not published, or for no seeds; [`crate::Error::Io`];
    /// [`crate::Error::Busy`] if the folder has a results.json of another kind.
    pub fn check(&self) -> Result<()> {
        Plan::new(self, crate::model::WIKITEXT103_VOCAB)?;
        self.folder.as_deref().map_or(Ok(()), |folder| Folder::open(folder).map(drop))
    }

    /// The corpus with the training tokens of one epoch at this scale.
    pub fn training_text(&self, corpus: &Corpus) -> Corpus {
        self.scale.train_tokens().map_or_else(|| corpus.clone(), |tokens| corpus.take_train(tokens))
    }

    /// Trains all models that the folder does not have, small ones in parallel on the CPU's cores. A run that
    /// another process works on is left to it. `update` gets the results so far after each run.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for a row or length that is not published; [`crate::Error::Mismatch`] or [`crate::Error::Busy`] if the
    /// folder has runs of other settings; otherwise the first error of a training run. If a run diverges, the
    /// others go on before the error is returned.
    pub fn run_with(
        &self,
        corpus: &Corpus,
        progress: &mut dyn Progress,
        update: &mut Update<'_>,
    ) -> Result<ReproduceResults> {
        // Counts interrupts from the beginning of this call.
        let experiment = Self { interrupt: self.interrupt.during_call(), ..self.clone() };
        let text = self.training_text(corpus);
        let plan = Plan::new(self, text.vocab().len())?;
        let circumstances = self.circumstances(&text);
        let folder = self.folder.as_deref().map(Folder::open).transpose()?;
        let requested = Requested::from(&plan);
        let mut started = results::utc(SystemTime::now());
        let mut jobs = plan.jobs;
        let mut done = 0;
        if let Some(folder) = &folder {
            if self.overwrite {
                folder.clear(&jobs, &circumstances)?;
            }
            folder.check(&circumstances)?;
            folder.request(&requested)?;
            if let Some(earlier) = folder.earlier()? {
                started = earlier.started;
            }
            let all = jobs.len();
            let finished = folder.finished()?;
            jobs.retain(|job| !finished.iter().any(|run| run.name == job.name));
            done = all - jobs.len();
            self.tell_finished(folder, done, jobs.len(), progress);
        }
        let total = (done + jobs.len()) as u64;
        progress.start(&Task { done: done as u64, ..Task::new("all", Unit::Runs, total) });
        let training = Training {
            experiment: &experiment,
            text: &text,
            circumstances: &circumstances,
            folder: folder.as_ref(),
            requested: &requested,
            started: &started,
            progress: Mutex::new(&mut *progress),
            finished: Mutex::new(vec![]),
            update: Mutex::new(update),
        };
        // Says what is missing, should the process be killed before its first run is finished.
        let trained = training.report().and_then(|()| training.train(jobs));
        let results = training.results(experiment.interrupt.requested());
        progress.finish();
        trained?;
        results
    }

    fn tell_finished(
        &self,
        folder: &Folder,
        done: usize,
        missing: usize,
        progress: &mut dyn Progress,
    ) {
        let path = folder.path.display();
        if done > 0 && missing == 0 {
            progress.message(&format!(
                "all {done} runs are in {path} already, so nothing is trained; `--overwrite`, in Rust \
                 `.overwrite(true)`, trains them anew"
            ));
        } else if done > 0 {
            progress.message(&format!("{done} of {} runs are in {path} already", done + missing));
        }
    }

    fn circumstances(&self, text: &Corpus) -> Circumstances {
        let device = match self.device {
            Device::Cpu => "CPU".to_owned(),
            device => format!("{device:?}"),
        };
        Circumstances {
            scale: self.scale.describe(self.precision, text.tokens(Split::Train).len()),
            corpus: gather::describe_corpus(text),
            origin: Origin {
                version: env!("CARGO_PKG_VERSION").into(),
                commit: commit::commit(),
                command: self.command.clone(),
                machine: Machine::here(device),
            },
        }
    }
}
