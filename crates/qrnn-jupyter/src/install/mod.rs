pub mod doctor;
pub mod kernelspec;
