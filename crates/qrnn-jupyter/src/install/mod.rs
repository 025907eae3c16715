//! Installing, removing and checking the kernel.

pub mod doctor;
pub mod kernelspec;
