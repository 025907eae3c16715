//! The paper's experiment: every row of its table and every length of its figure, trained at a
//! scale, and put beside the published figures.

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
use scale::Case;

/// Models whose widths are divided by this or more are trained by one thread each: a second has
/// next to nothing to do, and waiting for it is slow where the machine has other work.
const ONE_THREAD: f64 = 4.0;

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Whether to run rows of the table.
    pub table: bool,
    /// Which of them, by [`paper::Row::name`]; all where empty.
    pub rows: Vec<String>,
    /// Whether to run the figure's lengths too.
    pub lengths: bool,
    /// How far sizes are reduced.
    pub scale: Scale,
    /// Fixes weights, dropouts and lengths.
    pub seed: u64,
    /// Where to train.
    pub device: Device,
    /// How matrix products are computed in training.
    pub precision: Precision,
    /// The command line that repeats the run, for the report.
    pub command: String,
    /// Stops the experiment after a step of each run; what was measured is kept.
    pub interrupt: Interrupt,
}

/// A model to train, and the places of the report that want its result.
struct Job {
    label: String,
    config: LmConfig,
    recipe: Recipe,
    rows: Vec<usize>,
    lengths: Vec<usize>,
}

impl Experiment {
    /// The whole table and the figure of lengths on the CPU, or on the GPU at full size where there
    /// is one.
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

    /// The table alone; of its rows these, by [`paper::Row::name`], or all where none is named.
    pub fn table(scale: Scale, rows: &[&str]) -> Self {
        let rows = rows.iter().map(|&name| name.to_owned()).collect();
        Self { rows, lengths: false, ..Self::new(scale) }
    }

    /// The figure of perplexity against sequence length alone.
    pub fn lengths(scale: Scale) -> Self {
        Self { table: false, ..Self::new(scale) }
    }

    /// # Errors
    /// [`Error::Usage`] for a row that the table does not have.
    pub fn check(&self) -> Result<()> {
        self.chosen_rows().map(drop)
    }

    /// Trains all models, several at once where there are cores for it.
    ///
    /// # Errors
    /// [`Error::Usage`] for a row that the table does not have or too little text; the first error
    /// of a training run.
    pub fn run_with(
        &self,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<ReproduceResults> {
        Self { interrupt: self.interrupt.during_call(), ..self.clone() }
            .run_to_end(corpus, progress)
    }

    fn run_to_end(&self, corpus: &Corpus, progress: &mut dyn Progress) -> Result<ReproduceResults> {
        let started = (Instant::now(), SystemTime::now());
        let rows = self.chosen_rows()?;
        let text = match self.scale.train_tokens() {
            Some(tokens) => corpus.take_train(tokens),
            None => corpus.clone(),
        };
        let jobs = self.jobs(&rows, text.vocab().len());
        progress.start(&Task::new("all", Unit::Runs, jobs.len() as u64));
        let done = self.train_all(jobs, &text, &Mutex::new(&mut *progress));
        progress.finish();
        let done = done?;

        let mut row_results: Vec<_> = rows.iter().map(|row| RowResult::new(row, None)).collect();
        let mut length_results: Vec<_> = match self.lengths {
            true => paper::LENGTHS.iter().map(|length| LengthResult::new(length, None)).collect(),
            false => vec![],
        };
        for (job, measured) in done {
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
            started: results::utc(started.1),
            seconds: started.0.elapsed().as_secs_f64(),
            seed: self.seed,
            interrupted: self.interrupt.requested(),
            scale: self.scale.facts(self.precision),
            corpus: facts(&text),
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
                    Error::usage(
                        format!("--rows {name}"),
                        "the table has no such row",
                        format!("choose among {}", names.join(",")),
                    )
                })
            })
            .collect()
    }

    /// The models to train; a row and a length that come to the same model share it.
    fn jobs(&self, rows: &[&paper::Row], vocab: usize) -> Vec<Job> {
        let mut jobs: Vec<Job> = vec![];
        let lengths: &[paper::Length] = if self.lengths { &paper::LENGTHS } else { &[] };
        let cases = rows.iter().enumerate().map(|(i, row)| (Case::of_row(row), Some(i), None));
        let more = lengths
            .iter()
            .enumerate()
            .map(|(i, length)| (Case::of_length(length.bptt), None, Some(i)));
        for (case, row, length) in cases.chain(more) {
            let (config, recipe) = self.scale.apply(case, vocab, self.seed);
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

    /// Small models leave most of a matrix product's threads idle: one run a core is faster than
    /// all cores on one run.
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
            Scale::Reduced(divisor) if divisor >= ONE_THREAD => 1,
            _ => (cores / workers.max(1)).max(1),
        };
        tch::set_num_threads(threads as i32);
        let waiting = Mutex::new(VecDeque::from(jobs));
        let done = Mutex::new(vec![]);
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while !self.interrupt.requested() && lock(&failed).is_none() {
                        let Some(job) = lock(&waiting).pop_front() else { break };
                        match self.train(&job, text, progress) {
                            Ok(measured) => lock(&done).push((job, measured)),
                            Err(error) => *lock(&failed) = Some(error),
                        }
                    }
                });
            }
        });
        tch::set_num_threads(cores as i32);
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner)),
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
        let mut part = lock(progress).part(&job.label);
        let trainer = Trainer::new(job.recipe.clone()).interrupt(self.interrupt.clone());
        let run = trainer.fit_with(&mut model, text, &mut *part)?;
        let measured = measured(job, &run);
        let outcome = match measured.interrupted {
            true => "interrupted".to_owned(),
            false => format!("test perplexity {}", perplexity_in_text(measured.test_loss)),
        };
        part.message(&format!("{outcome} in {:.1} s", measured.seconds));
        lock(progress).advance(1);
        Ok(measured)
    }
}

/// A lock that a panicking thread left is still a lock.
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

fn facts(corpus: &Corpus) -> results::Corpus {
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

/// Makes sure that results can be written before hours are spent on them, and that those of a training
/// run, or somebody else's, are not lost to them.
///
/// # Errors
/// [`Error::Io`] where the folder cannot be made or written, [`Error::Usage`] where a results.json in it
/// is not that of a table.
pub fn check_writable(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let results = folder.join("results.json");
    match std::fs::read(&results) {
        Ok(bytes) if serde_json::from_slice::<ReproduceResults>(&bytes).is_err() => {
            return Err(Error::usage(
                format!("--out {}", folder.display()),
                "its results.json is not that of a table, and is not to be lost",
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
