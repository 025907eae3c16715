//! The entry's paper: its published tables, its operation counts, and its experiment at a scale.

pub mod experiment;
pub mod operation_counts;
pub mod results;
mod tables;

pub use tables::*;
