//! Options of an evaluation.

use crate::data::Split;
use crate::interrupt::Interrupt;
use crate::{Error, Result};

/// Options of an evaluation.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// Batch size. awd-lstm-lm uses 10 for the validation text and 1 for the test text.
    pub batch: usize,
    /// Sequence length of a window. It affects only the speed, since the state is carried over.
    pub bptt: usize,
    /// Stops the evaluation, which then returns what it computed so far.
    pub interrupt: Interrupt,
}

impl EvalOptions {
    /// The batch size of awd-lstm-lm for this split.
    pub fn original(split: Split, bptt: usize) -> Self {
        let batch = if split == Split::Test { 1 } else { 10 };
        Self { batch, bptt, interrupt: Interrupt::default() }
    }

    /// One batch column, the whole text in order, as an evaluation with a cache is reported.
    pub fn one_column(bptt: usize) -> Self {
        Self { batch: 1, bptt, interrupt: Interrupt::default() }
    }

    /// # Errors
    /// [`Error::Config`] if `bptt` is 0. The batch size is checked against the text later.
    pub(super) fn check(&self) -> Result<()> {
        if self.bptt > 0 {
            return Ok(());
        }
        Err(Error::config(
            "options.bptt",
            0,
            "must be at least 1",
            "omit it to use the sequence length of training",
        ))
    }
}
