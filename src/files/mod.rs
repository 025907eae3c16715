//! Files of tensors, and the folder of a run.

pub(crate) mod run_folder;
pub(crate) mod tensor_file;
