//! Counts what training asks of a GPU, without a GPU.
//!
//! Stand-ins of libcuda, libcudart, libcublas and libcublasLt (`xtask/cuda-stand-ins/`) are loaded before
//! the real libraries. They compute nothing and log every launch, product, copy, allocation and
//! synchronization that libtorch and our programs ask for.

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
