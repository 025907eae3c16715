//! Explains NaN results of a model.

use super::finite;
use super::lm::QrnnLm;
use crate::{Error, Result};

impl QrnnLm {
    /// # Errors
    /// [`Error::NotFinite`] naming the first parameter that holds a NaN or an infinity.
    pub(crate) fn check_finite(&self) -> Result<()> {
        finite::check(self.parameters().iter().map(|(name, tensor)| (name.as_str(), *tensor)))
    }

    /// The error for a result that is NaN: names a non-finite parameter, or reports an overflow.
    pub(crate) fn explain_not_finite(&self, result: &str) -> Error {
        match self.check_finite() {
            Err(error) => error,
            Ok(()) => Error::NotFinite {
                what: result.into(),
                problem: "is NaN although all weights are finite: a computation overflowed".into(),
                remedy: "compute in `Precision::Single`; if the problem persists, train with a \
                         lower learning rate"
                    .into(),
            },
        }
    }
}
