//! Named tensors in a safetensors file, with a note beside them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, View};
use tch::{Device, Kind, Tensor};

use crate::{Error, Result, atomic_file};

/// The tensors of a file, on the CPU, and its metadata.
#[derive(Debug)]
pub(crate) struct TensorFile {
    pub tensors: BTreeMap<String, Tensor>,
    pub metadata: HashMap<String, String>,
}

/// Writes tensors of kind Float or Double whole or not at all; others become Float.
///
/// # Errors
/// [`Error::Io`] where the disk is full or the folder unwritable; an older file then stays.
pub(crate) fn write(
    path: &Path,
    tensors: &[(String, &Tensor)],
    metadata: HashMap<String, String>,
) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let failed = RefCell::new(None);
    let mut parts = vec![];
    for (name, tensor) in tensors {
        let (kind, dtype) = match tensor.kind() {
            Kind::Double => (Kind::Double, Dtype::F64),
            _ => (Kind::Float, Dtype::F32),
        };
        let tensor = tensor.f_to_device(Device::Cpu)?.f_to_kind(kind)?.f_contiguous()?;
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        parts.push((name, Part { tensor, dtype, shape, failed: &failed }));
    }
    let metadata = (!metadata.is_empty()).then_some(metadata);
    atomic_file::write_by(path, |temporary| {
        safetensors::serialize_to_file(parts, metadata, temporary).map_err(|error| match error {
            SafeTensorError::IoError(error) => error,
            other => std::io::Error::other(other),
        })?;
        failed.take().map_or(Ok(()), |error| Err(std::io::Error::other(error)))
    })
}

/// A tensor on the CPU whose bytes are copied only when their turn has come: a checkpoint is three
/// times its model.
struct Part<'a> {
    tensor: Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
    /// The first copy that failed, which the trait has no way to tell.
    failed: &'a RefCell<Option<tch::TchError>>,
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.data_len()];
        if let Err(error) = self.tensor.f_copy_data_u8(&mut bytes, self.tensor.numel()) {
            self.failed.borrow_mut().get_or_insert(error);
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.tensor.kind().elt_size_in_bytes() * self.tensor.numel()
    }
}

/// Reads a file; half precision becomes Float.
///
/// # Errors
/// [`Error::Io`], or [`Error::BadFile`] where the file is truncated, is no safetensors file, or
/// holds something other than floating-point numbers.
pub(crate) fn read(path: &Path, remedy: &str) -> Result<TensorFile> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let broken = |error: safetensors::SafeTensorError| {
        Error::bad_file(path, format!("not a whole safetensors file ({error})"), remedy)
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let mut tensors = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(&bytes).map_err(broken)?.iter() {
        let (kind, kept) = match view.dtype() {
            Dtype::F32 => (Kind::Float, Kind::Float),
            Dtype::F64 => (Kind::Double, Kind::Double),
            Dtype::F16 => (Kind::Half, Kind::Float),
            Dtype::BF16 => (Kind::BFloat16, Kind::Float),
            other => {
                let problem = format!("tensor {name} holds {other:?}, not floating-point numbers");
                return Err(Error::bad_file(path, problem, remedy));
            }
        };
        let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?.f_to_kind(kept)?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(TensorFile { tensors, metadata })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(path: &Path) -> (Tensor, Tensor) {
        let (a, b) = (Tensor::from_slice(&[1.5f32, -2.0]), Tensor::from_slice(&[1e-300f64]));
        let note = HashMap::from([("note".to_owned(), "kept".to_owned())]);
        write(path, &[("a".into(), &a), ("b".into(), &b)], note).unwrap();
        (a, b)
    }

    #[test]
    fn tensors_and_note_come_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (a, b) = sample(&path);
        let file = read(&path, "").unwrap();
        assert_eq!((&file.tensors["a"], &file.tensors["b"]), (&a, &b));
        assert_eq!(file.metadata["note"], "kept");
    }

    proptest! {
        /// A damaged file is refused or read; it never panics.
        #[test]
        fn damage_is_no_panic(cut in 0..200usize, place in 0..200usize, byte: u8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            drop(sample(&path));
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(old) = bytes.get_mut(place) {
                *old = byte;
            }
            std::fs::write(&path, &bytes).unwrap();
            let _ = read(&path, "");
        }
    }
}
