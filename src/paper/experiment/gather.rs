//! Results of an experiment from its finished runs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{Plan, model_of_length, run_name};
use super::run::{Circumstances, FinishedRun};
use super::scale::{Sizes, sizes};
use crate::paper::results::{
    self, FORMAT, LengthResult, Measured, OpTables, ParameterCount, ReproduceResults, RowResult,
    RunsOf,
};
use crate::paper::{self, PublishedLength, Row};

/// Rows, lengths and runs that an experiment consists of, trained or not.
#[derive(Debug, Clone, Default)]
pub(super) struct Requested {
    pub rows: Vec<&'static Row>,
    pub lengths: Vec<PublishedLength>,
    /// Names of all runs.
    pub runs: Vec<String>,
}

/// [`Requested`] as a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    rows: Vec<String>,
    lengths: Vec<usize>,
    runs: Vec<String>,
}

impl From<&Requested> for Request {
    fn from(requested: &Requested) -> Self {
        Self {
            rows: requested.rows.iter().map(|row| row.name.to_owned()).collect(),
            lengths: requested.lengths.iter().map(|length| length.bptt).collect(),
            runs: requested.runs.clone(),
        }
    }
}

/// What the results say besides their runs.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    pub circumstances: Circumstances,
    pub started: String,
    /// The folder of results.json.
    pub folder: Option<PathBuf>,
}

impl From<&Plan> for Requested {
    fn from(plan: &Plan) -> Self {
        Self {
            rows: plan.rows.clone(),
            lengths: plan.lengths.clone(),
            runs: plan.jobs.iter().map(|job| job.name.clone()).collect(),
        }
    }
}

impl Requested {
    /// Adds the rows, lengths and runs of results.
    pub fn add(&mut self, earlier: &ReproduceResults) {
        let rows = earlier.rows.iter().filter_map(|row| paper::row(&row.name));
        let lengths = earlier.lengths.iter().map(|length| length.published);
        self.add_models(rows, lengths);
        let measured = earlier.measured_rows().chain(earlier.measured_lengths());
        let runs = measured.flat_map(|measured| {
            let sizes = [measured.emsize, measured.nhid, measured.bptt];
            measured.runs.iter().map(move |run| run_name(sizes, run.seed))
        });
        self.add_runs(runs.chain(earlier.missing.iter().cloned()));
    }

    /// Adds the rows, lengths and runs of another folder.
    pub fn include(&mut self, other: &Self) {
        self.add_models(other.rows.iter().copied(), other.lengths.iter().copied());
        self.add_runs(other.runs.iter().cloned());
    }

    /// Adds what a command asked for.
    pub fn add_request(&mut self, request: Request) {
        let rows = request.rows.iter().filter_map(|name| paper::row(name));
        let lengths = paper::LENGTHS.into_iter();
        self.add_models(rows, lengths.filter(|length| request.lengths.contains(&length.bptt)));
        self.add_runs(request.runs.into_iter());
    }

    pub fn add_models(
        &mut self,
        rows: impl Iterator<Item = &'static Row>,
        lengths: impl Iterator<Item = PublishedLength>,
    ) {
        self.rows.extend(rows);
        let position = |row: &&Row| paper::ROWS.iter().position(|other| other.name == row.name);
        self.rows.sort_by_key(position);
        self.rows.dedup();
        self.lengths.extend(lengths);
        self.lengths.sort_by_key(|length| length.bptt);
        self.lengths.dedup();
    }

    pub fn add_runs(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
            if !self.runs.contains(&name) {
                self.runs.push(name);
            }
        }
    }
}

/// Results of the runs; several runs of one name count once.
pub(super) fn results(
    requested: &Requested,
    runs: &[FinishedRun],
    heading: &Heading,
) -> ReproduceResults {
    let Circumstances { scale, corpus, origin } = &heading.circumstances;
    let mut runs: Vec<&FinishedRun> = runs.iter().collect();
    runs.sort_by_key(|run| (run.sizes(), run.seed));
    runs.dedup_by_key(|run| &run.name);
    let measured = |model: &paper::PublishedRow| of_model(sizes(scale, model), &runs, heading);
    let row_result = |row: &&Row| {
        let (name, published) = (row.name.into(), row.published);
        RowResult { name, published, measured: measured(&published) }
    };
    let length_result = |length: &PublishedLength| LengthResult {
        published: *length,
        measured: measured(&model_of_length(length)),
    };
    let mut seeds: Vec<u64> = requested.runs.iter().filter_map(|name| seed_of(name)).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let finished = |name: &&String| runs.iter().any(|run| run.name == **name);
    let mut results = ReproduceResults {
        format: FORMAT,
        version: origin.version.clone(),
        commit: origin.commit.clone(),
        command: origin.command.clone(),
        started: heading.started.clone(),
        // Without runs the sum is -0, which would be printed so.
        seconds: runs.iter().map(|run| run.measured.seconds).sum::<f64>() + 0.0,
        seed: seeds.first().copied().unwrap_or_default(),
        seeds,
        interrupted: false,
        scale: scale.clone(),
        corpus: corpus.clone(),
        machine: origin.machine.clone(),
        op_table: OpTables::of_entry(),
        parameter_counts: ParameterCount::of_rows(requested.rows.iter().copied()),
        rows: requested.rows.iter().map(row_result).collect(),
        lengths: requested.lengths.iter().map(length_result).collect(),
        differences: vec![],
        missing: requested.runs.iter().filter(|name| !finished(name)).cloned().collect(),
        origins: origins(&runs),
    };
    results.compare();
    results
}

/// Seed in the name of a run.
fn seed_of(name: &str) -> Option<u64> {
    name.rsplit_once("-s")?.1.parse().ok()
}

/// The runs of one model; `None` if there are none.
fn of_model(sizes: Sizes, runs: &[&FinishedRun], heading: &Heading) -> Option<Measured> {
    let runs: Vec<_> = runs.iter().filter(|run| run.sizes() == sizes).collect();
    let first = runs.first()?.measured.clone();
    let seeds = runs.iter().map(|run| {
        let folder = run.folder.as_deref().map(|folder| relative(folder, heading));
        run.measured.of_seed(run.seed, folder)
    });
    Some(Measured::over_seeds(first, seeds.collect()))
}

/// The path of a run relative to results.json, or as it is where there is no way from one to the other.
fn relative(run: &Path, heading: &Heading) -> String {
    let base = heading.folder.as_deref().unwrap_or(Path::new(""));
    // Both must be absolute or both relative to the working directory.
    let [absolute, base] = [run, base].map(|path| std::path::absolute(path).unwrap_or(path.into()));
    crate::json::path(pathdiff::diff_paths(absolute, base).unwrap_or_else(|| run.into()))
}

/// The distinct origins of the runs.
fn origins(runs: &[&FinishedRun]) -> Vec<RunsOf> {
    let mut origins: Vec<RunsOf> = vec![];
    for run in runs {
        let origin = &run.circumstances.origin;
        match origins.iter_mut().find(|known| known.origin == *origin) {
            Some(known) => known.runs.push(run.name.clone()),
            None => origins.push(RunsOf { origin: origin.clone(), runs: vec![run.name.clone()] }),
        }
    }
    origins
}

/// Describes the text of an experiment.
pub(crate) fn describe_corpus(corpus: &crate::data::Corpus) -> results::Corpus {
    use crate::data::Split;
    let count = |split| corpus.tokens(split).len() as u64;
    let checksum = |split| format!("{:016x}", corpus.checksum(split));
    results::Corpus {
        name: corpus.name().into(),
        words: corpus.vocab().len(),
        train_tokens: count(Split::Train),
        valid_tokens: count(Split::Valid),
        test_tokens: count(Split::Test),
        best_test_ppl: corpus.best_perplexity(Split::Test),
        unigram_test_ppl: corpus.unigram_perplexity(Split::Test),
        checksums: Split::ALL.map(checksum).into(),
    }
}
