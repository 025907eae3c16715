//! Interrupting a cell.

pub mod counter;
pub mod interrupter;
