//! Compiling a cell: the wrapper that cargo runs in place of rustc, questions to rustc about types
//! and syntax, and its messages, drawn at their place in the cell.

pub mod build_inputs;
pub mod compile_error;
pub mod compiled_cell;
pub mod dep_info;
pub mod diagnostic;
pub mod fingerprint;
pub mod generated_code;
pub mod handoff;
pub mod messages;
pub mod source_map;
pub mod syntax_check;
pub mod type_probes;
pub mod warnings;
pub mod wrapper;
