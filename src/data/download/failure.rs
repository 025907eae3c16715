//! Failures of downloads, by what can be done about them.

use std::time::Duration;

/// Why a step of a download failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// A retry may succeed, after the delay that the server asks for.
    Temporary(String, Duration),
    /// This server, or its archive, is of no use; another one may be.
    Permanent(String),
    /// A disk error or an interrupt.
    Fatal(crate::Error),
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self::Fatal(error)
    }
}

impl Failure {
    pub fn temporary(problem: impl Into<String>) -> Self {
        Self::Temporary(problem.into(), Duration::ZERO)
    }

    pub fn permanent(problem: impl Into<String>) -> Self {
        Self::Permanent(problem.into())
    }
}
