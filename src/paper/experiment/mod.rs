//! The paper's experiment: trains every row of the table and every sequence length of the figure, at full
//! or reduced size, and compares the results with the published ones.

mod scale;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
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
use crate::progress::{Progress, Task, Unit};
use crate::train::{Recipe, Trainer, TrainingRun};
use crate::{Error, Result, paper};
use qrnn_ops::matmul::Precision;
use scale::PaperModel;

/// Models whose widths are divided by at least this are trained with one thread each: they are too small to
/// gain from a second, and synchronizing threads is slow on a busy machine.
const ONE_THREAD_DIVISOR: f64 = 4.0;

/// Settings of the experiment.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Whether to train rows of the table.
    pub table: bool,
    /// Names ([`paper::Row::name`]) of the rows to train; empty for all.
    pub rows: Vec<String>,
    /// Whether to train the sequence lengths of the figure.
    pub lengths: bool,
    /// Reduction of the models and texts.
    pub scale: Scale,
    /// Seed of initial weights, dropout masks and sequence lengths.
    pub seed: u64,
    /// Device of the models.
    pub device: Device,
    /// Precision of training.
    pub precision: Precision,
    /// Command line that repeats the experiment, for the report.
    pub command: String,
    /// Stops every run after its current step; results so far are returned.
    pub interrupt: Interrupt,
}

/// A model to train, and the indices of the rows and lengths that share its result.
struct Job {
    label: String,
    config: LmConfig,
    recipe: Recipe,
    rows: Vec<usize>,
    lengths: Vec<usize>,
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

    /// Trains all models; small ones in parallel on the CPU's cores.
    ///
    /// # Errors
    /// [`Error::Config`] for a row that the table does not have; otherwise the first error of a training run.
    pub fn run_with(
        &self,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<ReproduceResults> {
        Self { interrupt: self.interrupt.during_call(), ..self.clone() }
            .run_to_end(corpus, progress)
    }

    fn run_to_end(&self, corpus: &Corpus, progress: &mut dyn Progress) -> Result<ReproduceResults> {
        let (timer, started) = (Instant::now(), SystemTime::now());
        let rows = self.chosen_rows()?;
        let text = match self.scale.train_tokens() {
            Some(tokens) => corpus.take_train(tokens),
            None => corpus.clone(),
        };
        let jobs = self.jobs(&rows, text.vocab().len());
        progress.start(&Task::new("all", Unit::Runs, jobs.len() as u64));
        let outcomes = self.train_all(jobs, &text, &Mutex::new(&mut *progress));
        progress.finish();
        let outcomes = outcomes?;

        let mut row_results: Vec<_> = rows.iter().map(|row| RowResult::new(row, None)).collect();
        let mut length_results: Vec<_> = if self.lengths {
            paper::LENGTHS.iter().map(|length| LengthResult::new(length, None)).collect()
        } else {
            vec![]
        };
        for (job, measured) in outcomes {
            for i in job.rows {
                row_results[i].measured = Some(measured.clone());
            }
            for i in job.lengths {
                length_results[i].measured = Some(measured.clone());
            }
        }
        Ok(ReproduceResults {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("QRNN_COMMIT").map(str::to_owned),
            command: self.command.clone(),
            started: results::utc(started),
            seconds: timer.elapsed().as_secs_f64(),
            seed: self.seed,
            interrupted: self.interrupt.requested(),
            scale: self.scale.describe(self.precision),
            corpus: describe_corpus(&text),
            machine: Machine::here(match self.device {
                Device::Cpu => "CPU".to_owned(),
                device => format!("{device:?}"),
            }),
            op_table: OpTables::of_entry(),
            parameter_counts: ParameterCount::of_rows(rows.iter().copied()),
            rows: row_results,
            lengths: length_results,
        })
    }

    fn chosen_rows(&self) -> Result<Vec<&'static paper::Row>> {
        if !self.table {
            return Ok(vec![]);
        }
        if self.rows.is_empty() {
            return Ok(paper::ROWS.iter().collect());
        }
        self.rows
            .iter()
            .map(|name| {
                paper::row(name).ok_or_else(|| {
                    let names: Vec<_> = paper::ROWS.iter().map(|row| row.name).collect();
                    Error::config(
                        "experiment.rows",
                        name,
                        "the table has no such row",
                        format!("choose among {}", names.join(",")),
                    )
                })
            })
            .collect()
    }

    /// The models to train; rows and lengths with the same model and recipe share a job.
    fn jobs(&self, rows: &[&paper::Row], vocab: usize) -> Vec<Job> {
        let mut jobs: Vec<Job> = vec![];
        let lengths: &[paper::Length] = if self.lengths { &paper::LENGTHS } else { &[] };
        let row_models =
            rows.iter().enumerate().map(|(i, row)| (PaperModel::of_row(row), Some(i), None));
        let length_models = lengths
            .iter()
            .enumerate()
            .map(|(i, length)| (PaperModel::of_length(length.bptt), None, Some(i)));
        for (model, row, length) in row_models.chain(length_models) {
            let (config, recipe) = self.scale.apply(model, vocab, self.seed);
            match jobs.iter_mut().find(|job| job.config == config && job.recipe == recipe) {
                Some(job) => {
                    job.rows.extend(row);
                    job.lengths.extend(length);
                }
                None => jobs.push(Job {
                    label: format!("{}-{}-{}", config.emsize, config.nhid, config.bptt),
                    config,
                    recipe,
                    rows: row.into_iter().collect(),
                    lengths: length.into_iter().collect(),
                }),
            }
        }
        jobs
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
        let queue = Mutex::new(VecDeque::from(jobs));
        let outcomes = Mutex::new(vec![]);
        let first_error = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while !self.interrupt.requested() && lock(&first_error).is_none() {
                        let Some(job) = lock(&queue).pop_front() else { break };
                        match self.train(&job, text, progress) {
                            Ok(measured) => lock(&outcomes).push((job, measured)),
                            Err(error) => *lock(&first_error) = Some(error),
                        }
                    }
                });
            }
        });
        tch::set_num_threads(cores as i32);
        match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn train(
        &self,
        job: &Job,
        text: &Corpus,
        progress: &Mutex<&mut dyn Progress>,
    ) -> Result<Measured> {
        let mut model = QrnnLm::seeded(&job.config, (Kind::Float, self.device), self.seed)?;
        model.set_precision(self.precision);
        let mut run_progress = lock(progress).part(&job.label);
        let trainer = Trainer::new(job.recipe.clone()).interrupt(self.interrupt.clone());
        let run = trainer.fit_with(&mut model, text, &mut *run_progress)?;
        let measured = measured(job, &run);
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
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn measured(job: &Job, run: &TrainingRun) -> Measured {
    let tombstones = crate::paper::operation_counts::count_ops(&job.config).criterion_parameters;
    Measured {
        emsize: job.config.emsize,
        nhid: job.config.nhid,
        bptt: job.recipe.bptt,
        batch: job.recipe.batch,
        epochs: job.recipe.epochs,
        tokens: run.tokens,
        steps: run.losses.len() as u64,
        parameters: run.parameters - tombstones,
        valid_loss: run.epochs.iter().map(|epoch| epoch.valid_loss).fold(f64::NAN, f64::min),
        test_loss: run.test_loss.unwrap_or(f64::NAN),
        valid_ppl: run.epochs.iter().map(|epoch| epoch.valid_ppl).fold(f64::NAN, f64::min),
        test_ppl: run.test_ppl.unwrap_or(f64::NAN),
        seconds: run.seconds,
        interrupted: run.interrupted,
    }
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
