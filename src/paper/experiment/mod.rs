//! The paper's experiment: trains every row of the table and every sequence length of the figure, at full
//! or reduced size, with one or several seeds, and compares the results with the published ones.
//!
//! - `settings`: what is trained; `plan`: which runs that needs; `scale`: their sizes and recipe
//! - `training`: trains what is missing; `run`: a finished run; `folder`: where runs are kept
//! - `gather`: results of the finished runs; `report`: of runs that lie in several folders

mod commit;
mod folder;
mod gather;
mod plan;
mod report;
mod run;
mod scale;
mod settings;
#[cfg(test)]
mod tests;
mod training;

use std::sync::Mutex;
use std::time::SystemTime;

pub(crate) use gather::describe_corpus;
pub use report::gather as gather_folders;
pub use scale::{DEFAULT_DIVISOR, Scale};
pub use settings::{Experiment, Update};
use tch::Device;

use self::folder::Folder;
use self::gather::Requested;
use self::plan::Plan;
use self::run::Circumstances;
use self::training::Training;
use crate::Result;
use crate::data::{Corpus, Split};
use crate::paper::results::{self, Machine, Origin, ReproduceResults};
use crate::progress::{Progress, Task, Unit};

impl Experiment {
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
            let finished = folder.finished()?;
            let (found, missing): (Vec<_>, Vec<_>) = jobs
                .into_iter()
                .map(|job| (finished.iter().find(|run| run.name == job.name), job))
                .partition(|(run, _)| run.is_some());
            for (run, job) in &found {
                run.map_or(Ok(()), |run| run.check_settings(job))?;
            }
            done = found.len();
            jobs = missing.into_iter().map(|(_, job)| job).collect();
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
            let runs = if done == 1 { "the run is".into() } else { format!("all {done} runs are") };
            progress.message(&format!(
                "{runs} in {path} already, so nothing is trained; `--overwrite`, in Rust `.overwrite(true)`, \
                 trains anew"
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
