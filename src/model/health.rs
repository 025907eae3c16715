//! Why a result of a model is NaN.

use super::finite;
use super::lm::QrnnLm;
use crate::{Error, Result};

impl QrnnLm {
    /// # Errors
    /// [`Error::NotFinite`] naming the first parameter that holds a NaN or an infinity.
    pub(crate) fn check_finite(&self) -> Result<()> {
        finite::check(self.parameters().iter().map(|(name, tensor)| (name.as_str(), *tensor)))
    }

    /// Why a result of the model is no number: its weights, or a computation that overflowed.
    pub(crate) fn explain_not_finite(&self, what: &str) -> Error {
        match self.check_finite() {
            Err(error) => error,
            Ok(()) => Error::NotFinite {
                what: what.into(),
                problem: "is no number, though all weights are finite: something overflowed".into(),
                remedy:
                    "compute in fp32 (`--precision fp32`); where it is so there too, train with \
                         a lower learning rate"
                        .into(),
            },
        }
    }
}
