//! The paper of the entry: published tables, operation counts, and the experiment with its results.

pub mod compression;
pub mod experiment;
pub mod operation_counts;
pub mod results;
mod tables;

pub use tables::*;
