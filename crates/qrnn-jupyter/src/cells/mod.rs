//! The text of a cell: commands, statements, and text that the kernel inserts.

pub mod commands;
pub mod completeness;
pub mod insertions;
pub mod positions;
pub mod preloaded_crates;
pub mod statements;
