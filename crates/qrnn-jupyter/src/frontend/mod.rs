//! The kernel as front ends see it: requests on the shell and control channels, and their replies.

pub mod control;
pub mod history;
pub mod kernel;
pub mod kernel_info;
pub mod shell;
