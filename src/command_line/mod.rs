//! Shared by the programs of this workspace: parsers of numeric flags, output as text or JSON, and exit
//! statuses.

mod corpus;
mod device;
pub mod numbers;
mod output;

pub use corpus::{load_corpus, peak_bytes};
pub use device::{require_cuda, set_threads};
pub use output::{INTERRUPTED, Output, finish, print_clap_error};
