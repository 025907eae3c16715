//! Files of tensors.

pub(crate) mod tensor_file;
