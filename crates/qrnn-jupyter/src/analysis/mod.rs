//! Completion and inspection, by rust-analyzer in a process of its own.
//!
//! The kernel keeps what the notebook has defined (`notebook`) and sends the whole text with each
//! question (`protocol`). The process (`process`) finds out which crates there are (`project`),
//! reads their sources (`host`), and answers (`completion`, `inspection`). So a question is answered
//! while a cell runs, and rust-analyzer can be stopped or can fail without the kernel.

mod ahead;
mod analyst;
mod completion;
mod engine;
mod host;
mod inspection;
mod kept;
mod notebook;
mod outline;
mod outlines;
mod process;
mod project;
mod protocol;
mod replies;
mod trial;

pub use analyst::{Analyst, Known};
pub use kept::keep;
pub use process::{ROLE, run};
pub use project::{has_sources, library};
pub use trial::trial;
