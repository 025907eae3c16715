//! The paper's experiment: trains every row of the table and every sequence length of the figure, at full
//! or reduced size, and compares the results with the published ones.

mod scale;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

pub use scale::{DEFAULT_DIVISOR, Scale};
use tch::{Device, Kind};

use crate::data::{Corpus, Split};
use crate::format::perplexity_in_text;
use crate::interrupt::Interrupt;
use crate::model::{LmConfig, QrnnLm};
use crate::paper::results::{
    self, LengthResult, Machine, Measured, OpTables, ParameterCount, ReproduceResults, RowResult,
};
use crate::paper::{self, PublishedLength, PublishedRow};
use crate::progress::{Progress, Task, Unit};
use crate::train::{Recipe, Trainer};
use crate::{Error, Result};
use qrnn_ops::matmul::Precision;

/// Models whose widths are divided by at least this are trained with one thread each: they are too small to
/// gain from a second, and synchronizing threads is slow on a busy machine.
const ONE_THREAD_DIVISOR: f64 = 4.0;

/// Settings of the experiment.
#[derive(Debug, Clone)]
pub struct Experiment {
    pub table: bool,
    /// Names ([`paper::Row::name`]) of the rows to train; empty for all.
    pub rows: Vec<String>,
    pub lengths: bool,
    pub scale: Scale,
    pub seed: u64,
    pub device: Device,
    pub precision: Precision,
    /// Command line that repeats the experiment, for the report.
    pub command: String,
    /// Stops every run after its current step; results so far are returned.
    pub interrupt: Interrupt,
}

/// A model to train. Rows and lengths with equal jobs share its result.
#[derive(Clone, PartialEq)]
struct Job {
    config: LmConfig,
    recipe: Recipe,
}

impl Experiment {
    /// The whole table and the figure. Trains on the CPU; at full size, on the GPU if one is usable.
    pub fn new(scale: Scale) -> Self {
        let device = match scale {
            Scale::Full => qrnn_ops::device::cuda_or_cpu().0,
            Scale::Reduced(_) => Device::Cpu,
        };
        Self {
            table: true,
            rows: vec![],
            lengths: true,
            scale,
            seed: crate::model::DEFAULT_SEED,
            device,
            precision: Precision::automatic(device, scale.layer_multiplications()),
            command: "a notebook".into(),
            interrupt: Interrupt::default(),
        }
    }

    /// Only the table: the rows with these names ([`paper::Row::name`]), or all if `rows` is empty.
    pub fn table(scale: Scale, rows: &[&str]) -> Self {
        let rows = rows.iter().map(|&name| name.to_owned()).collect();
        Self { rows, lengths: false, ..Self::new(scale) }
    }

    /// Only the figure of perplexity against sequence length.
    pub fn lengths(scale: Scale) -> Self {
        Self { table: false, ..Self::new(scale) }
    }

    /// Checks the names of the rows.
    ///
    /// # Errors
    /// [`Error::Config`] for a row that the table does not have.
    pub fn check(&self) -> Result<()> {
        self.chosen_rows().map(drop)
    }

    /// The corpus with the training tokens of one epoch at this scale.
    pub fn training_text(&self, corpus: &Corpus) -> Corpus {
        self.scale.train_tokens().map_or_else(|| corpus.clone(), |tokens| corpus.take_train(tokens))
    }

    /// Trains all models; small ones in parallel on the CPU's cores.
    ///
    /// # Errors
    /// [`Error::Config`] for a row that the table does not have; otherwise the first error of a training run.
    pub fn run_with(
        &self,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<ReproduceResults> {
        // Counts interrupts from the beginning of this call.
        let experiment = Self { interrupt: self.interrupt.during_call(), ..self.clone() };
        let (timer, started) = (Instant::now(), SystemTime::now());
        let rows = self.chosen_rows()?;
        let text = self.training_text(corpus);
        let job = |model: &PublishedRow| {
            let (config, recipe) = self.scale.apply(model, text.vocab().len(), self.seed);
            Job { config, recipe }
        };
        let row_jobs: Vec<_> = rows.iter().map(|row| job(&row.published)).collect();
        let lengths: &[PublishedLength] = if self.lengths { &paper::LENGTHS } else { &[] };
        // The write-up does not state the figure's model; 300/2000 of the table is assumed.
        let model = paper::ROWS[1].published;
        let of_length =
            |length: &PublishedLength| job(&PublishedRow { bptt: length.bptt, ..model });
        let length_jobs: Vec<_> = lengths.iter().map(of_length).collect();
        let mut jobs: Vec<Job> = vec![];
        for job in row_jobs.iter().chain(&length_jobs) {
            if !jobs.contains(job) {
                jobs.push(job.clone());
            }
        }
        progress.start(&Task::new("all", Unit::Runs, jobs.len() as u64));
        let outcomes = experiment.train_all(jobs, &text, &Mutex::new(&mut *progress));
        progress.finish();
        let outcomes = outcomes?;
        let measured = |job: &Job| {
            outcomes.iter().find(|(done, _)| done == job).map(|(_, measured)| measured.clone())
        };
        let row_result = |(row, job): (&&paper::Row, &Job)| {
            let (name, published) = (row.name.into(), row.published);
            RowResult { name, published, measured: measured(job) }
        };
        let length_result = |(length, job): (&PublishedLength, &Job)| LengthResult {
            published: *length,
            measured: measured(job),
        };
        Ok(ReproduceResults {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("QRNN_COMMIT").map(str::to_owned),
            command: self.command.clone(),
            started: results::utc(started),
            seconds: timer.elapsed().as_secs_f64(),
            seed: self.seed,
            interrupted: experiment.interrupt.requested(),
            scale: self.scale.describe(self.precision, text.tokens(Split::Train).len()),
            corpus: describe_corpus(&text),
            machine: Machine::here(match self.device {
                Device::Cpu => "CPU".to_owned(),
                device => format!("{device:?}"),
            }),
            op_table: OpTables::of_entry(),
            parameter_counts: ParameterCount::of_rows(rows.iter().copied()),
            rows: rows.iter().zip(&row_jobs).map(row_result).collect(),
            lengths: lengths.iter().zip(&length_jobs).map(length_result).collect(),
        })
    }

    fn chosen_rows(&self) -> Result<Vec<&'static paper::Row>> {
        if !self.table {
            return Ok(vec![]);
        }
        if self.rows.is_empty() {
            return Ok(paper::ROWS.iter().collect());
        }
        let find = |name: &String| {
            paper::row(name).ok_or_else(|| {
                Error::config(
                    "experiment.rows",
                    name,
                    "the table has no such row",
                    format!("choose among {}", paper::ROWS.map(|row| row.name).join(",")),
                )
            })
        };
        self.rows.iter().map(find).collect()
    }

    /// Trains small models in parallel, one per core: their matmuls are too small to use several threads.
    fn train_all(
        &self,
        jobs: Vec<Job>,
        text: &Corpus,
        progress: &Mutex<&mut dyn Progress>,
    ) -> Result<Vec<(Job, Measured)>> {
        let cores = tch::get_num_threads().max(1) as usize;
        let workers = match self.scale {
            Scale::Full => 1,
            Scale::Reduced(_) => cores.min(jobs.len()),
        };
        let threads = match self.scale {
            Scale::Reduced(divisor) if divisor >= ONE_THREAD_DIVISOR => 1,
            _ => (cores / workers.max(1)).max(1),
        };
        tch::set_num_threads(threads as i32);
        let queue = Mutex::new(jobs.into_iter());
        let outcomes = Mutex::new(Ok(vec![]));
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while !self.interrupt.requested() && lock(&outcomes).is_ok() {
                        let Some(job) = lock(&queue).next() else { break };
                        let outcome = self.train(&job, text, progress);
                        let mut outcomes = lock(&outcomes);
                        match (&mut *outcomes, outcome) {
                            (Ok(all), Ok(measured)) => all.push((job, measured)),
                            (Ok(_), Err(error)) => *outcomes = Err(error),
                            // The first error is returned.
                            (Err(_), _) => {}
                        }
                    }
                });
            }
        });
        tch::set_num_threads(cores as i32);
        outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn train(
        &self,
        job: &Job,
        text: &Corpus,
        progress: &Mutex<&mut dyn Progress>,
    ) -> Result<Measured> {
        let mut model = QrnnLm::seeded(&job.config, (Kind::Float, self.device), self.seed)?;
        model.set_precision(self.precision);
        let Job { config, .. } = job;
        let label = format!("{}-{}-{}", config.emsize, config.nhid, config.bptt);
        let mut run_progress = lock(progress).part(&label);
        let trainer = Trainer::new(job.recipe.clone()).interrupt(self.interrupt.clone());
        let run = trainer.fit_with(&mut model, text, &mut *run_progress)?;
        let measured = Measured::from(&run);
        let outcome = if measured.interrupted {
            "interrupted".to_owned()
        } else {
            format!("test perplexity {}", perplexity_in_text(measured.test_loss))
        };
        run_progress.message(&format!("{outcome} in {:.1} s", measured.seconds));
        lock(progress).advance(1);
        Ok(measured)
    }
}

/// Locks a mutex even if a thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn describe_corpus(corpus: &Corpus) -> results::Corpus {
    let count = |split| corpus.tokens(split).len() as u64;
    results::Corpus {
        name: corpus.name().into(),
        words: corpus.vocab().len(),
        train_tokens: count(Split::Train),
        valid_tokens: count(Split::Valid),
        test_tokens: count(Split::Test),
        best_test_ppl: corpus.best_perplexity(Split::Test),
        unigram_test_ppl: corpus.unigram_perplexity(Split::Test),
    }
}

/// Checks, before hours of training, that results can be written to the folder and would not overwrite a
/// results.json of another kind.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be created or written; [`Error::Busy`] if its results.json does not
/// hold [`ReproduceResults`].
pub fn check_writable(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let results = folder.join("results.json");
    match std::fs::read(&results) {
        Ok(bytes) if serde_json::from_slice::<ReproduceResults>(&bytes).is_err() => {
            return Err(Error::busy(
                folder.display().to_string(),
                "its results.json is not that of an experiment table and would be overwritten",
                "name another folder, or move that file away",
            ));
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io(&results, "read")(error));
        }
        Ok(_) | Err(_) => {}
    }
    tempfile::tempfile_in(folder).map(drop).map_err(Error::io(folder, "write"))
}
