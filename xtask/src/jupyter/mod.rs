//! The Jupyter kernel and the notebooks: built, installed, tested.

pub mod kernel;
pub mod kernel_test;
pub mod notebooks;
mod rust_src;
mod stock_kernel;
mod venv;
