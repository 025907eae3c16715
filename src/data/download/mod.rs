//! Corpora from the network: an archive from a list of mirrors, checked and unpacked.
//!
//! - [`Dataset`]: what is published, under which sums, and where (`dataset`, data/*.json)
//! - the folder, its lock, and how texts appear in it whole (`destination`)
//! - one request (`connection`), one archive through retries and ranges (`transfer`, `partial_file`)
//! - the texts out of an archive that nobody vouches for (`archive`)
//! - sums and counts (`checksums`, `token_counts`)
//! - how long to bear with a server ([`Patience`]), what a user sees ([`crate::progress::Progress`])

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
pub use retry::Patience;
