//! Shared by the programs of this workspace: parsers of flag values, names of flags in errors, output as
//! text or JSON, and exit statuses.

mod corpus;
mod device;
mod flags;
mod output;
pub mod parsers;

pub use corpus::{load_corpus, peak_bytes};
pub use device::{require_cuda, set_threads, share_processors};
pub use flags::with_flags;
pub use output::{INTERRUPTED, Output, exit_status, finish, print_clap_error};
