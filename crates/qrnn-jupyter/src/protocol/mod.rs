//! The Jupyter messaging protocol: connection file, sockets, messages, a cell's error.

pub mod cell_error;
pub mod connection;
pub mod iopub;
pub mod message;
pub mod sockets;
