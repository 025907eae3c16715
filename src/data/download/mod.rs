//! Downloads of corpora: an archive from a list of mirrors, verified and unpacked.
//!
//! - [`Dataset`]: the published files, their checksums and mirrors (`dataset`, data/*.json)
//! - [`Fetch`]: its settings (`fetch`) and its course from mirror to mirror (`run`), in a locked `folder`
//! - one server with retries and ranges (`transfer`), one request (`request`), bytes on disk (`partial_file`)
//! - safe unpacking of an untrusted archive (`archive`), and comparison with what is published (`verify`)

mod archive;
mod dataset;
mod failure;
mod fetch;
mod folder;
mod partial_file;
mod request;
mod run;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;

pub use dataset::{Archive, DataFile, Dataset};
pub use fetch::{Fetch, RetryPolicy};
pub use run::Fetched;
