//! What the notebook has defined, and which variables depend on which definitions.
//!
//! rustc identifies a type by its crate and path and does not look at its fields. All cells are one
//! crate to it (`rustc::wrapper`), so the kernel itself must compare definitions before a cell may
//! read a variable of an earlier one.

pub mod conflicts;
pub mod items;
pub mod marks;
pub mod names;
pub mod shape;
pub mod state;
pub mod type_dependencies;
pub mod type_erasure;
