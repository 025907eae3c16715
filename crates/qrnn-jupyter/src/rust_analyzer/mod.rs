//! Completion and inspection, by rust-analyzer in a process of its own.
//!
//! The kernel keeps what the notebook has defined (`notebook`) and sends the whole text with each
//! question (`protocol`). The process (`process`) finds out which crates there are (`project`),
//! reads their sources (`host`), and answers (`completion`, `inspection`). So a question is answered
//! while a cell runs, and rust-analyzer can be stopped or can fail without the kernel.

mod client;
mod completion;
mod database;
mod inspection;
mod notebook_text;
mod outline;
mod outline_cache;
mod prefetch;
mod project;
mod project_cache;
mod replies;
mod self_test;
mod server;
mod service;
mod wire;

pub use project::{has_sources, library};
pub use project_cache::keep;
pub use self_test::trial;
pub use server::{ROLE, run};
pub use service::{Analyst, Known};
