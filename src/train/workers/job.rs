//! What rank 0 gives to its workers for a training run.

use qrnn_ops::matmul::Precision;
use qrnn_ops::process_group::ProcessGroup;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::compress::Gradual;
use crate::data::{Corpus, IdOrder, Split};
use crate::interrupt::Interrupt;
use crate::model::{LmConfig, QrnnLm};
use crate::train::recipe::Recipe;
use crate::{Error, Result};

/// The settings of a run, and which corpus it trains on.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::train) struct Job {
    pub config: LmConfig,
    pub recipe: Recipe,
    pub compression: Option<Gradual>,
    pub precision: Precision,
    pub log_every: u64,
    pub losses_at_once: Option<usize>,
    corpus: CorpusKey,
}

/// A corpus without its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CorpusKey {
    name: String,
    ids: IdOrder,
    /// Of the tokens of each split, then of the vocabulary.
    checksums: [u64; 4],
    lengths: [usize; 3],
}

impl CorpusKey {
    fn of(corpus: &Corpus) -> Self {
        let [train, valid, test] = Split::ALL.map(|split| corpus.checksum(split));
        Self {
            name: corpus.name().into(),
            ids: corpus.ids(),
            checksums: [train, valid, test, corpus.vocab().checksum()],
            lengths: Split::ALL.map(|split| corpus.tokens(split).len()),
        }
    }
}

/// The settings that rank 0 announces besides the model's.
pub(in crate::train) struct Announced<'a> {
    pub recipe: &'a Recipe,
    pub compression: Option<&'a Gradual>,
    pub log_every: u64,
    pub losses_at_once: Option<usize>,
}

/// Gives a run to the workers of the group, which wait for it, and the corpus to those that do not have it.
///
/// # Errors
/// [`Error::Ops`] naming a worker that has ended; [`Error::Interrupted`].
pub(in crate::train) fn announce(
    group: &ProcessGroup,
    model: &QrnnLm,
    corpus: &Corpus,
    settings: &Announced<'_>,
    interrupt: &Interrupt,
) -> Result<()> {
    let job = Job {
        config: model.config().clone(),
        recipe: settings.recipe.clone(),
        compression: settings.compression.cloned(),
        precision: model.precision(),
        log_every: settings.log_every,
        losses_at_once: settings.losses_at_once,
        corpus: CorpusKey::of(corpus),
    };
    let text = serde_json::to_string(&job).map_err(|error| not_understood(&error))?;
    group.announce(&text)?;
    share_corpus(group, &job.corpus, Some(corpus), interrupt).map(drop)
}

impl Job {
    /// # Errors
    /// [`Error::Mismatch`] if rank 0 is another version of this program.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| not_understood(&error))
    }

    /// The corpus of the run: `known`, if it is that one, or as rank 0 sends it.
    ///
    /// # Errors
    /// As [`announce`].
    pub fn corpus(
        &self,
        group: &ProcessGroup,
        known: Option<&Corpus>,
        interrupt: &Interrupt,
    ) -> Result<Corpus> {
        let known = known.filter(|corpus| CorpusKey::of(corpus) == self.corpus);
        share_corpus(group, &self.corpus, known, interrupt)
    }
}

/// Sends a corpus from rank 0 to all workers, if one of them does not have it.
fn share_corpus(
    group: &ProcessGroup,
    key: &CorpusKey,
    own: Option<&Corpus>,
    interrupt: &Interrupt,
) -> Result<Corpus> {
    let has_it = if own.is_some() { "yes" } else { "no" };
    let answers = group.exchange(has_it, &|| interrupt.requested())?;
    if let Some(own) = own.filter(|_| answers.iter().all(|answer| answer == "yes")) {
        return Ok(own.clone());
    }
    let words = own.map(|corpus| corpus.vocab().joined()).unwrap_or_default();
    let words = group.broadcast_bytes(words.as_bytes())?;
    let mut splits: [Vec<u32>; 3] = Default::default();
    for (split, ids) in Split::ALL.into_iter().zip(&mut splits) {
        let length = key.lengths[split as usize];
        let tensor = match own {
            Some(corpus) => {
                // Ids are below 2³¹: a vocabulary has fewer words.
                let ids: Vec<i32> = corpus.tokens(split).iter().map(|id| *id as i32).collect();
                Tensor::f_from_slice(&ids)?
            }
            None => Tensor::f_empty(length as i64, (Kind::Int, Device::Cpu))?,
        };
        group.broadcast(&[&tensor])?;
        if own.is_none() {
            let received: Vec<i32> = Vec::try_from(tensor)?;
            *ids = received.into_iter().map(|id| id as u32).collect();
        }
    }
    if let Some(own) = own {
        return Ok(own.clone());
    }
    let words = String::from_utf8(words).map_err(|error| not_understood(&error))?;
    Corpus::from_parts(&key.name, &words, splits, key.ids)
        .ok_or_else(|| not_understood(&"a vocabulary"))
}

fn not_understood(problem: &dyn std::fmt::Display) -> Error {
    Error::mismatch(
        "rank 0 of the group",
        format!("and its worker do not understand each other ({problem})"),
        "start the same program on all machines",
    )
}
