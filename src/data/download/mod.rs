//! Downloads of corpora: an archive from a list of mirrors, verified and unpacked.
//!
//! - [`Dataset`]: the published files, their checksums and mirrors (`dataset`, data/*.json)
//! - the destination folder, its lock, and atomic installation of the texts (`destination`)
//! - one request (`connection`), one archive with retries and ranges (`transfer`, `partial_file`)
//! - safe unpacking of an untrusted archive (`archive`)
//! - checksums and token counts (`checksums`, `token_counts`)
//! - timeouts and retries ([`RetryPolicy`]); progress is reported to a [`crate::progress::Progress`]

mod archive;
mod checksums;
mod connection;
mod dataset;
mod destination;
mod fetch;
mod partial_file;
mod retry;
#[cfg(test)]
mod tests;
mod token_counts;
mod transfer;

pub use dataset::{Archive, DataFile, Dataset};
pub use fetch::{Fetch, Fetched};
pub use retry::RetryPolicy;
