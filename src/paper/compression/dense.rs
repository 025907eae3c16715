//! The dense model that a preset is compressed from.

use std::path::Path;

use tch::{Device, Kind};

use crate::Result;
use crate::data::{Corpus, Split};
use crate::interrupt::Interrupt;
use crate::model::{LmConfig, QrnnLm};
use crate::progress::Progress;
use crate::train::{Memory, Recipe, Trainer, TrainingRun};
use qrnn_ops::matmul::Precision;

/// Trains a dense model in a folder, or continues its run there.
///
/// # Errors
/// As [`Trainer::fit_with`].
pub fn train_dense(
    (config, recipe): (&LmConfig, &Recipe),
    corpus: &Corpus,
    (device, precision): (Device, Precision),
    folder: &Path,
    interrupt: &Interrupt,
    progress: &mut dyn Progress,
) -> Result<(QrnnLm, TrainingRun)> {
    let config = config.clone().vocab(corpus.vocab().len());
    Memory::estimate(&config, recipe, corpus.tokens(Split::Train).len()).check()?;
    let mut model = QrnnLm::seeded(&config, (Kind::Float, device), recipe.seed)?;
    model.set_precision(precision);
    model.adopt_vocab(corpus);
    let trainer =
        Trainer::new(recipe.clone()).folder(folder).resume(true).interrupt(interrupt.clone());
    let run = trainer.fit_with(&mut model, corpus, progress)?;
    Ok((model, run))
}
