//! Downloads of corpora: Parquet files from Hugging Face, or an archive from a list of mirrors, verified and
//! unpacked.
//!
//! - [`Dataset`]: the published files, their checksums and mirrors (`dataset`, data/*.json)
//! - [`Fetch`]: its settings (`fetch`) and its course from mirror to mirror (`run`), in a locked `folder`
//! - one server with retries and ranges (`transfer`), one request (`request`), bytes on disk (`partial_file`)
//! - Hugging Face (`hub`), and the texts in its files (`tables`)
//! - safe unpacking of an untrusted archive (`archive`) into a `text_file`, and comparison with what is
//!   published (`verify`)

mod archive;
mod dataset;
mod failure;
mod fetch;
mod folder;
mod hub;
mod partial_file;
mod request;
mod run;
mod tables;
#[cfg(test)]
mod tests;
mod text_file;
mod transfer;
mod verify;

pub use dataset::{Archive, DataFile, Dataset, HubFolder};
pub use fetch::{Fetch, RetryPolicy};
pub use hub::HubAccess;
pub use run::Fetched;
