//! Identifies the run that a checkpoint belongs to.

use std::hash::Hasher;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use twox_hash::XxHash3_64;

use super::recipe::Recipe;
use crate::compress::{Gradual, values};
use crate::data::{Corpus, Split};
use crate::model::QrnnLm;
use crate::{Error, Result};

/// Checksums of everything that determines a run, so that repeating a run gives the same identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Checksum of settings, vocabulary, texts and initial weights.
    pub run: String,
    /// Checksums of the token ids of the training and validation splits.
    train: String,
    valid: String,
}

impl Identity {
    /// Identity of a run that starts with this model on this corpus.
    ///
    /// # Errors
    /// [`Error::Ops`] if memory runs out.
    pub fn new(
        model: &QrnnLm,
        recipe: &Recipe,
        corpus: &Corpus,
        compression: Option<&Gradual>,
    ) -> Result<Self> {
        let checksum = |split| format!("{:016x}", corpus.checksum(split));
        let (train, valid) = (checksum(Split::Train), checksum(Split::Valid));
        // A run may be resumed with more epochs or steps.
        let recipe = Recipe { epochs: 1, steps: None, ..recipe.clone() };
        let vocab = corpus.vocab().checksum();
        let mut identity = json!([model.config(), recipe, train, valid, vocab]).to_string();
        if let Some(compression) = compression {
            identity += &json!(compression).to_string();
        }
        let mut hasher = XxHash3_64::default();
        hasher.write(identity.as_bytes());
        for (_, parameter) in model.parameters() {
            for value in values(parameter)? {
                hasher.write(&value.to_le_bytes());
            }
        }
        Ok(Self { run: format!("{:016x}", hasher.finish()), train, valid })
    }

    /// Checks that a run that compresses a model goes on with the model that it started from, beside which its results
    /// are shown.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the identity of the run that starts now is another one.
    pub fn check_start(&self, checkpoint: &Path, now: &Self) -> Result<()> {
        if self.run == now.run {
            return Ok(());
        }
        Err(Error::mismatch(
            "`.resume(true)`",
            format!("the run of {} started from another model", checkpoint.display()),
            "give the model that the run started from, or start a new run in another folder",
        ))
    }

    /// Checks that the corpus has the texts that the run of this checkpoint was trained on.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it has not.
    pub fn check(&self, checkpoint: &Path, corpus: &Corpus) -> Result<()> {
        for (split, expected) in [(Split::Train, &self.train), (Split::Valid, &self.valid)] {
            if *expected != format!("{:016x}", corpus.checksum(split)) {
                return Err(Error::mismatch(
                    "`.resume(true)`",
                    format!(
                        "the {split} split of {} differs from that of the run of {}",
                        corpus.name(),
                        checkpoint.display()
                    ),
                    "give the unchanged corpus of that run, or start a new run in another folder",
                ));
            }
        }
        Ok(())
    }
}
