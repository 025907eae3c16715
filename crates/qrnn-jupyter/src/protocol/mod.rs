pub mod cell_error;
pub mod connection;
pub mod message;
