//! The channels between a notebook cell and our Jupyter kernel.

pub mod channel;
