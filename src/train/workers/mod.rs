//! Worker processes: they train with a process that has the settings and the corpus, such as a notebook.

mod job;
mod local;
mod program;
mod worker;

pub use local::LocalWorkers;
pub use worker::work_for;

pub(super) use job::{Announced, announce};
