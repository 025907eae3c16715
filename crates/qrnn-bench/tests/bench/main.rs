//! Tests of the program `qrnn-bench`.

mod corpus;
mod failing;
mod group;
mod measurements;
mod memory;
mod program;
mod refused;
