//! The program on a GPU that computes nothing: what a real one would be asked to do, counted.
//!
//! Stand-ins of libcuda, libcudart, libcublas and libcublasLt (`xtask/cuda-stand-ins/`) are loaded
//! before the real libraries. Under them the real libtorch and the real program run to their ends
//! without a GPU, and leave a log of every launch, product, copy, allocation and synchronization.

pub mod command;
mod count;
mod log;
mod names;
mod optimizer;
mod program;
mod runs;
mod stand_ins;
mod table;
mod text;
