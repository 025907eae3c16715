//! Differentiable operations for [tch](https://crates.io/crates/tch), on CPU and CUDA: the fo-pooling of a
//! QRNN, the split softmax, dropout masks, Adam, linear maps with a choice of precision, and custom
//! autograd functions written in Rust.
//!
//! Modules, lowest first; each imports only from those before it.
//!
//! | module | contents |
//! | --- | --- |
//! | [`libtorch`] | functions of libtorch that tch does not bind |
//! | [`autograd`] | custom autograd functions |
//! | [`simd`] | element types and exponentials of the CPU kernels |
//! | [`packed`] | exact products of compressed 8-bit weights; knows no tensor |
//! | [`cuda`] | CUDA at run time: libraries, driver, NVRTC, launches |
//! | [`profile`] | timers of the stages of a training step |
//! | [`matmul`], [`dropout_mask`], [`adam`] | matrix products and linear maps; masks; Adam on CUDA |
//! | [`fo_pool`], [`split_softmax`], [`cache_attention`] | the operations of a QRNN language model |
//! | [`process_group`] | groups of processes: rendezvous, sums, gathers, broadcasts |
//! | [`device`] | chooses a device, and tests every operation on it |

pub mod adam;
pub mod atomic_file;
pub mod autograd;
pub mod cache_attention;
pub mod cuda;
pub mod device;
pub mod dropout_mask;
mod error;
pub mod fo_pool;
#[cfg(test)]
mod kernels_compile;
pub mod libtorch;
pub mod matmul;
pub mod packed;
pub mod process_group;
pub mod profile;
mod self_test;
pub mod simd;
pub mod split_softmax;

pub use error::{Error, Result, io_remedy, is_out_of_memory};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
