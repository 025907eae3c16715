//! Tests of the program `qrnn-bench`.

mod corpus;
mod failing;
mod measurements;
mod memory;
mod program;
mod refused;
