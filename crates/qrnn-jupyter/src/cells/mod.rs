pub mod commands;
pub mod completeness;
pub mod preloaded_crates;
pub mod statements;
