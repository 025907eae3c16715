//! Tensor files and run folders.

pub(crate) mod run_folder;
pub(crate) mod run_lock;
pub(crate) mod tensor_file;
