//! Which run a file is of, and which texts that run reads.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::Kind;
use twox_hash::XxHash3_64;

use super::recipe::Recipe;
use crate::data::{Corpus, Split};
use crate::model::QrnnLm;
use crate::{Error, Result};

/// What a run is told by. It follows from what the run begins with, so that the same run made twice
/// is the same run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// A checksum of settings, words, texts and first weights.
    pub run: String,
    /// Checksums of the ids of the two texts that a run reads before its end.
    train: String,
    valid: String,
}

impl Identity {
    /// Of a run that begins with this model, whose words are the corpus's.
    ///
    /// # Errors
    /// [`Error::Ops`] where memory runs out.
    pub fn new(model: &QrnnLm, recipe: &Recipe, corpus: &Corpus) -> Result<Self> {
        let checksum = |split| format!("{:016x}", corpus.checksum(split));
        let (train, valid) = (checksum(Split::Train), checksum(Split::Valid));
        let mut told = format!("{:?}", model.config());
        // More epochs or steps make no other run of it.
        told += &format!("{:?}", Recipe { epochs: 1, steps: None, ..recipe.clone() });
        told += &format!("{train} {valid} {:016x}", corpus.vocab().checksum());
        for (_, parameter) in model.parameters() {
            let sum = tch::no_grad(|| parameter.f_sum(Kind::Double))?.f_double_value(&[])?;
            told += &format!(" {:016x}", sum.to_bits());
        }
        Ok(Self { run: format!("{:016x}", XxHash3_64::oneshot(told.as_bytes())), train, valid })
    }

    /// # Errors
    /// [`Error::Usage`] where a text is not the one that the run of this checkpoint read.
    pub fn check(&self, checkpoint: &Path, corpus: &Corpus) -> Result<()> {
        for (split, theirs) in [(Split::Train, &self.train), (Split::Valid, &self.valid)] {
            if *theirs != format!("{:016x}", corpus.checksum(split)) {
                return Err(Error::usage(
                    "--resume",
                    format!(
                        "the {split} text of {} is not the one that the run of {} read",
                        corpus.name(),
                        checkpoint.display()
                    ),
                    "give the --data of that run as it was, or train anew in another --out",
                ));
            }
        }
        Ok(())
    }
}
