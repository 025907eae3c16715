pub mod backend;
pub mod plan;
pub mod typed_cell;
pub mod variable_errors;
