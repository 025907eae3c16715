//! The runs of an experiment.

use super::scale::{Scale, Sizes};
use super::settings::Experiment;
use crate::model::LmConfig;
use crate::paper::{self, PublishedLength, PublishedRow, Row};
use crate::train::Recipe;
use crate::{Error, Result};

/// The rows and lengths of an experiment, and the runs that they need.
pub(super) struct Plan {
    pub rows: Vec<&'static Row>,
    pub lengths: Vec<PublishedLength>,
    /// Each run once, though a row and a length may share it: all models of the first seed, then those of the
    /// next.
    pub jobs: Vec<Job>,
}

/// A model to train.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Job {
    /// emsize-nhid-bptt-s*seed*, of the sizes that are trained.
    pub name: String,
    pub config: LmConfig,
    pub recipe: Recipe,
}

/// Name of a run, and of its folder.
pub(super) fn run_name([emsize, nhid, bptt]: Sizes, seed: u64) -> String {
    format!("{emsize}-{nhid}-{bptt}-s{seed}")
}

/// The published model of a length. The write-up does not state it; 300/2000 of the table is assumed.
pub(super) fn model_of_length(length: &PublishedLength) -> PublishedRow {
    PublishedRow { bptt: length.bptt, ..paper::ROWS[1].published }
}

impl Plan {
    /// # Errors
    /// [`Error::Config`] for a row or length that is not published, for no seeds, or for nothing to train.
    pub fn new(experiment: &Experiment, vocab: usize) -> Result<Self> {
        let rows = rows(&experiment.rows)?;
        let lengths = lengths(&experiment.lengths)?;
        if rows.is_empty() && lengths.is_empty() {
            return Err(Error::config(
                "experiment.rows",
                "",
                "no row and no length is chosen, so nothing would be trained",
                "leave out the choice of rows and lengths to train all of them",
            ));
        }
        let last = experiment.seed.checked_add(experiment.seeds.saturating_sub(1) as u64);
        let (Some(last), 1..=MAX_SEEDS) = (last, experiment.seeds) else {
            return Err(Error::config(
                "experiment.seeds",
                experiment.seeds,
                format!("must be at least 1 and at most {MAX_SEEDS}, beginning at the seed"),
                "give for example 3",
            ));
        };
        let models =
            rows.iter().map(|row| row.published).chain(lengths.iter().map(model_of_length));
        let models: Vec<PublishedRow> = models.collect();
        let mut jobs: Vec<Job> = vec![];
        for seed in experiment.seed..=last {
            for model in &models {
                let job = Job::new(experiment.scale, model, vocab, seed);
                if !jobs.contains(&job) {
                    jobs.push(job);
                }
            }
        }
        Ok(Self { rows, lengths, jobs })
    }
}

/// Most seeds of one experiment.
const MAX_SEEDS: usize = 1000;

/// The published rows of these names, in published order.
fn rows(names: &[String]) -> Result<Vec<&'static Row>> {
    if let Some(unknown) = names.iter().find(|name| paper::row(name).is_none()) {
        return Err(Error::config(
            "experiment.rows",
            unknown,
            "the table has no such row",
            format!("choose among {}", paper::ROWS.map(|row| row.name).join(",")),
        ));
    }
    Ok(paper::ROWS.iter().filter(|row| names.iter().any(|name| name == row.name)).collect())
}

/// The published lengths of these values, in ascending order.
fn lengths(chosen: &[usize]) -> Result<Vec<PublishedLength>> {
    let published = |bptt: &usize| paper::LENGTHS.iter().any(|length| length.bptt == *bptt);
    if let Some(unknown) = chosen.iter().find(|bptt| !published(bptt)) {
        return Err(Error::config(
            "experiment.lengths",
            unknown,
            "the figure has no such sequence length",
            format!(
                "choose among {}",
                paper::LENGTHS.map(|length| length.bptt.to_string()).join(",")
            ),
        ));
    }
    let chosen = |length: &&PublishedLength| chosen.contains(&length.bptt);
    Ok(paper::LENGTHS.iter().filter(chosen).copied().collect())
}

impl Job {
    fn new(scale: Scale, model: &PublishedRow, vocab: usize, seed: u64) -> Self {
        let (config, recipe) = scale.apply(model, vocab, seed);
        let name = run_name([config.emsize, config.nhid, recipe.bptt], seed);
        Self { name, config, recipe }
    }

    /// Name without the seed.
    pub fn label(&self) -> &str {
        self.name.rsplit_once("-s").map_or(&self.name, |(model, _)| model)
    }
}
