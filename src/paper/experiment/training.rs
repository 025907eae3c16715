//! Trains the runs of an experiment: those that are missing, and that no other process works on.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tch::Kind;

use super::folder::Folder;
use super::gather::{self, Heading, Requested};
use super::plan::Job;
use super::run::{Circumstances, FinishedRun, StoredRun};
use super::scale::Scale;
use super::settings::{Experiment, Update};
use crate::data::Corpus;
use crate::files::run_lock::Watch;
use crate::format::perplexity_in_text;
use crate::model::QrnnLm;
use crate::paper::results::ReproduceResults;
use crate::progress::Progress;
use crate::train::{Claimed, RunDir, Trainer};
use crate::{Error, Result};

/// An experiment in progress.
pub(super) struct Training<'a> {
    pub experiment: &'a Experiment,
    pub text: &'a Corpus,
    pub circumstances: &'a Circumstances,
    pub folder: Option<&'a Folder>,
    /// What this experiment asks for.
    pub requested: &'a Requested,
    pub started: &'a str,
    pub progress: Mutex<&'a mut dyn Progress>,
    /// The finished runs of an experiment without a folder.
    pub finished: Mutex<Vec<FinishedRun>>,
    pub update: Mutex<&'a mut Update<'a>>,
}

/// The jobs that wait, and what became of others.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Waiting>,
    /// Those left to other processes, and to which.
    left: Vec<(String, String)>,
    failed: Option<Error>,
    /// The first run that diverged; the others go on.
    diverged: Option<Error>,
}

/// A job, and what was seen of other processes that work on it.
struct Waiting {
    job: Job,
    watch: Option<Watch>,
    /// Whether a live process had it at the first try.
    was_live: bool,
}

/// What became of a job.
enum Outcome {
    Finished,
    Interrupted,
    /// This process works on it.
    Live(String),
    /// Whether another machine's process works on it is not known yet.
    Unclear(Option<Watch>),
}

impl Training<'_> {
    /// Trains small models in parallel, one per core: their matrix products are too small to use several threads.
    pub fn train(&self, jobs: Vec<Job>) -> Result<()> {
        let cores = tch::get_num_threads().max(1) as usize;
        let scale = self.experiment.scale;
        let workers = if scale == Scale::Full { 1 } else { cores.min(jobs.len()) };
        let threads = if scale.has_small_models() { 1 } else { (cores / workers.max(1)).max(1) };
        tch::set_num_threads(threads as i32);
        let jobs =
            jobs.into_iter().map(|job| Waiting { job, watch: None, was_live: false }).collect();
        let queue = Mutex::new(Queue { jobs, ..Queue::default() });
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| self.work(&queue));
            }
        });
        tch::set_num_threads(cores as i32);
        let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (name, owner) in &queue.left {
            lock(&self.progress).message(&format!("{name} is left to another process ({owner})"));
        }
        queue.failed.or(queue.diverged).map_or(Ok(()), Err)
    }

    fn work(&self, queue: &Mutex<Queue>) {
        loop {
            let Some(Waiting { job, watch, was_live }) = self.next(queue) else { return };
            let waits = watch.is_some();
            let outcome = self.run(&job, watch);
            let mut queue = lock(queue);
            match outcome {
                Ok(Outcome::Finished | Outcome::Interrupted) => {}
                // Once more when the others are done: that process may have died by then.
                Ok(Outcome::Live(_)) if !was_live => {
                    queue.jobs.push_back(Waiting { job, watch: None, was_live: true });
                }
                Ok(Outcome::Live(owner)) => queue.left.push((job.name, owner)),
                Ok(Outcome::Unclear(watch)) => {
                    queue.jobs.push_back(Waiting { job, watch, was_live });
                }
                Err(error @ Error::Diverged { .. }) => {
                    lock(&self.progress).message(&format!("{}: {error}", job.name));
                    queue.diverged.get_or_insert(error);
                }
                Err(error) => {
                    queue.failed.get_or_insert(error);
                }
            }
            drop(queue);
            if waits {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }

    fn next(&self, queue: &Mutex<Queue>) -> Option<Waiting> {
        let mut queue = lock(queue);
        if self.experiment.interrupt.requested() || queue.failed.is_some() {
            return None;
        }
        queue.jobs.pop_front()
    }

    fn run(&self, job: &Job, mut watch: Option<Watch>) -> Result<Outcome> {
        let Some(folder) = self.folder else { return self.train_one(job, None) };
        let path = folder.run(&job.name);
        match RunDir::claim(&path, &mut watch)? {
            Claimed::Live(owner) => Ok(Outcome::Live(owner)),
            Claimed::Unclear(_) => Ok(Outcome::Unclear(watch)),
            Claimed::Ours(dir) => {
                // Another process may have finished it since the list was made.
                if let Some(StoredRun::Finished(_)) = FinishedRun::read(&path)? {
                    dir.delete_checkpoints()?;
                    lock(&self.progress).advance(1);
                    self.report()?;
                    return Ok(Outcome::Finished);
                }
                dir.prepare(&job.config, &job.recipe)?;
                let outcome = self.train_one(job, Some(dir.clone()))?;
                if matches!(outcome, Outcome::Finished) {
                    dir.delete_checkpoints()?;
                }
                Ok(outcome)
            }
        }
    }

    fn train_one(&self, job: &Job, dir: Option<RunDir>) -> Result<Outcome> {
        let Experiment { scale, device, precision, seeds, .. } = *self.experiment;
        let label = if seeds > 1 { &job.name } else { job.label() };
        let mut run_progress = lock(&self.progress).part(label);
        let mut model = QrnnLm::seeded(&job.config, (Kind::Float, device), job.recipe.seed)?;
        model.set_precision(precision);
        let mut trainer = Trainer::new(job.recipe.clone())
            .interrupt(self.experiment.interrupt.clone())
            .log_every(scale.log_every());
        if let (Some(dir), Some(folder)) = (&dir, self.folder) {
            let weights = dir.weights();
            let weights = weights.strip_prefix(&folder.path).unwrap_or(&weights);
            let fields = self.circumstances.fields(weights);
            trainer = trainer.run_dir(dir.clone()).resume(true).provenance(fields);
        }
        let run = trainer.fit_with(&mut model, self.text, &mut *run_progress)?;
        if run.interrupted {
            return Ok(Outcome::Interrupted);
        }
        let test_loss = run.test_loss.unwrap_or(f64::NAN);
        let (perplexity, seconds) = (perplexity_in_text(test_loss), run.epoch_seconds());
        run_progress.message(&format!("test perplexity {perplexity} in {seconds:.1} s"));
        if dir.is_none() {
            lock(&self.finished).push(FinishedRun::new(job, &run, self.circumstances));
        }
        lock(&self.progress).advance(1);
        self.report()?;
        Ok(Outcome::Finished)
    }

    /// Passes on the results so far.
    pub fn report(&self) -> Result<()> {
        let mut update = lock(&self.update);
        let mut results = self.results(false)?;
        loop {
            update(&results)?;
            // Another process may have finished a run and written its results meanwhile.
            let missing = results.missing;
            results = self.results(false)?;
            if results.missing == missing {
                return Ok(());
            }
        }
    }

    /// The results so far.
    pub fn results(&self, interrupted: bool) -> Result<ReproduceResults> {
        let (runs, requested) = match self.folder {
            // Others may have asked for more meanwhile.
            Some(folder) => (folder.finished()?, folder.requested()?),
            None => (lock(&self.finished).clone(), self.requested.clone()),
        };
        let heading = Heading {
            circumstances: self.circumstances.clone(),
            started: self.started.to_owned(),
            folder: self.folder.map(|folder| folder.path.clone()),
        };
        let results = gather::results(&requested, &runs, &heading);
        let interrupted = interrupted && !results.missing.is_empty();
        Ok(ReproduceResults { interrupted, ..results })
    }
}

/// Locks a mutex even if a thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
