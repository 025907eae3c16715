//! What the programs of this workspace share: parsers of numeric flags, the outcome of a command as text or
//! JSON, exit statuses.

mod corpus;
mod device;
pub mod numbers;
mod output;

pub use corpus::{load_corpus, peak_bytes};
pub use device::{require_cuda, set_threads};
pub use output::{INTERRUPTED, Output, explain, finish};
