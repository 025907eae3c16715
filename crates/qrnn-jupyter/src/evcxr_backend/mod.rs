//! Runs cells with evcxr: decides whether a cell may run, keeps variables across cells, and turns
//! what happened into the cell's outcome.

pub mod backend;
pub mod evcxr_context;
pub mod plan;
pub mod resets;
pub mod settle;
pub mod typed_cell;
pub mod variable_errors;
