//! Completion and inspection by rust-analyzer, in a separate process.
//!
//! The kernel's side is `service`: it answers the requests, keeps what the notebook has defined
//! (`notebook_text`), and talks to the process through `client`. The process is `server`: it finds
//! the crates (`project`), loads their sources (`database`) and answers (`completion`,
//! `inspection`). So requests are answered while a cell runs, and rust-analyzer may fail without the
//! kernel.

pub mod client;
pub mod completion;
pub mod database;
pub mod inspection;
pub mod notebook_text;
pub mod outline;
pub mod outline_cache;
pub mod prefetch;
pub mod project;
pub mod project_cache;
pub mod replies;
pub mod self_test;
pub mod server;
pub mod service;
pub mod wire;
