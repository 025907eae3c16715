//! The built program, as its users meet it.

mod corpus;
mod failing;
mod measurements;
mod memory;
mod program;
mod refused;
