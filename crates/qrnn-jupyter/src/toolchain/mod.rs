//! The compiler and the libraries for cells: the installed preloaded library, the toolchain that
//! built it, and the environment in which evcxr and cargo find both.

pub mod environment;
pub mod preload;
pub mod rust_src;
pub mod rustc;
pub mod rustc_info;
