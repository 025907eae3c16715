//! Downloads of corpora: an archive from a list of mirrors, verified and unpacked.
//!
//! - [`Dataset`]: the published files, their checksums and mirrors (`dataset`, data/*.json)
//! - [`Fetch`]: existing texts, mirrors and verification (`fetch`), in a locked folder (`folder`)
//! - one server with retries and ranges (`transfer`), one request (`request`), bytes on disk (`partial_file`)
//! - safe unpacking of an untrusted archive (`archive`), and comparison with what is published (`verify`)

mod archive;
mod dataset;
mod fetch;
mod folder;
mod partial_file;
mod request;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;

use std::time::Duration;

pub use dataset::{Archive, DataFile, Dataset};
pub use fetch::{Fetch, Fetched};
pub use transfer::RetryPolicy;

/// Why a step of a download failed.
#[derive(Debug)]
enum Failure {
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
    fn temporary(problem: impl Into<String>) -> Self {
        Self::Temporary(problem.into(), Duration::ZERO)
    }

    fn permanent(problem: impl Into<String>) -> Self {
        Self::Permanent(problem.into())
    }
}
