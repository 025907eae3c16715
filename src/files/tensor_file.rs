//! Named tensors in a safetensors file, with a note beside them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, View};
use tch::{Device, Kind, Tensor};
use twox_hash::XxHash3_64;

use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// The tensors of a file, on the CPU, and its metadata.
#[derive(Debug)]
pub(crate) struct TensorFile {
    pub tensors: BTreeMap<String, Tensor>,
    pub metadata: HashMap<String, String>,
}

/// The key of the seal in the metadata.
const CHECKSUM: &str = "seal";

/// The one key of a file's own metadata, which holds all of it as JSON, sorted: safetensors writes its
/// keys in any order, and the same tensors and notes are to give the same bytes.
const METADATA: &str = "qrnn";

/// Writes tensors of kind Float or Double whole or not at all; others become Float. The file bears
/// a seal: a sum of all that it holds.
///
/// # Errors
/// [`Error::Io`] where the disk is full or the folder unwritable; an older file then stays.
pub(crate) fn write(
    path: &Path,
    tensors: &[(String, &Tensor)],
    metadata: HashMap<String, String>,
) -> Result<()> {
    let failed = RefCell::new(None);
    let mut parts = vec![];
    for (entry, tensor) in entries(tensors)? {
        let bytes = Bytes::Of { tensor: tensor.f_to_device(Device::Cpu)?, failed: &failed };
        parts.push((entry.name.clone(), Part { entry, bytes }));
    }
    write_parts(path, parts, metadata, &failed)
}

/// What a file says of a tensor beside its bytes.
#[derive(Debug)]
pub(crate) struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
}

/// Tensors as [`write`] writes them, of kind Float or Double and contiguous, still on their device.
///
/// # Errors
/// [`Error::Ops`] where memory runs out.
pub(crate) fn entries(tensors: &[(String, &Tensor)]) -> Result<Vec<(Entry, Tensor)>> {
    let _no_grad = tch::no_grad_guard();
    let entry = |(name, tensor): &(String, &Tensor)| {
        let (kind, dtype) = match tensor.kind() {
            Kind::Double => (Kind::Double, Dtype::F64),
            _ => (Kind::Float, Dtype::F32),
        };
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        let entry = Entry { name: name.clone(), dtype, shape };
        Ok((entry, tensor.f_to_kind(kind)?.f_contiguous()?))
    };
    tensors.iter().map(entry).collect()
}

/// [`write`] for tensors whose bytes were copied: those of each entry, in pieces that follow each
/// other. Calls nothing of libtorch's.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_bytes(
    path: &Path,
    entries: Vec<Entry>,
    bytes: Vec<Vec<&[u8]>>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    let parts = entries
        .into_iter()
        .zip(bytes)
        .map(|(entry, pieces)| (entry.name.clone(), Part { entry, bytes: Bytes::Pieces(pieces) }));
    write_parts(path, parts.collect(), metadata, &RefCell::new(None))
}

fn write_parts(
    path: &Path,
    parts: Vec<(String, Part)>,
    mut metadata: HashMap<String, String>,
    failed: &RefCell<Option<tch::TchError>>,
) -> Result<()> {
    let sums = parts.iter().map(|(name, part)| (name.as_str(), XxHash3_64::oneshot(&part.data())));
    let checksum = checksum(sums, &metadata);
    metadata.insert(CHECKSUM.into(), checksum);
    let sorted: BTreeMap<_, _> = metadata.into_iter().collect();
    let sorted =
        serde_json::to_string(&sorted).map_err(|error| Error::io(path, "write")(error.into()))?;
    let metadata = HashMap::from([(METADATA.to_owned(), sorted)]);
    if let Some(error) = failed.take() {
        return Err(error.into());
    }
    atomic_file::write_by(path, |temporary| {
        safetensors::serialize_to_file(parts, Some(metadata), temporary).map_err(|error| {
            match error {
                SafeTensorError::IoError(error) => error,
                other => std::io::Error::other(other),
            }
        })?;
        failed.take().map_or(Ok(()), |error| Err(std::io::Error::other(error)))
    })
    .map_err(Error::io(path, "write"))
}

/// Whether a file that was read bears a seal, and so is whole.
pub(crate) fn has_checksum(file: &TensorFile) -> bool {
    file.metadata.contains_key(CHECKSUM)
}

/// A sum of the bytes of all tensors and of the notes beside them.
fn checksum<'a>(
    sums: impl Iterator<Item = (&'a str, u64)>,
    metadata: &HashMap<String, String>,
) -> String {
    let sums: BTreeMap<&str, u64> = sums.collect();
    let notes: BTreeMap<&String, &String> =
        metadata.iter().filter(|(key, _)| *key != CHECKSUM).collect();
    format!("{:016x}", XxHash3_64::oneshot(format!("{sums:?}{notes:?}").as_bytes()))
}

/// A tensor as safetensors takes it.
struct Part<'a> {
    entry: Entry,
    bytes: Bytes<'a>,
}

/// Where a tensor's bytes come from.
enum Bytes<'a> {
    /// A tensor on the CPU whose bytes are copied only when their turn has come: a checkpoint is three
    /// times its model.
    Of {
        tensor: Tensor,
        /// The first copy that failed, which the trait has no way to tell.
        failed: &'a RefCell<Option<tch::TchError>>,
    },
    /// Copies that were made before.
    Pieces(Vec<&'a [u8]>),
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        self.entry.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match &self.bytes {
            Bytes::Of { tensor, failed } => {
                let mut bytes = vec![0; self.data_len()];
                if let Err(error) = tensor.f_copy_data_u8(&mut bytes, tensor.numel()) {
                    failed.borrow_mut().get_or_insert(error);
                }
                Cow::Owned(bytes)
            }
            Bytes::Pieces(pieces) => match pieces[..] {
                [whole] => Cow::Borrowed(whole),
                _ => Cow::Owned(pieces.concat()),
            },
        }
    }

    fn data_len(&self) -> usize {
        match &self.bytes {
            Bytes::Of { tensor, .. } => tensor.kind().elt_size_in_bytes() * tensor.numel(),
            Bytes::Pieces(pieces) => pieces.iter().map(|piece| piece.len()).sum(),
        }
    }
}

/// Reads a file; half precision becomes Float. A file with a seal must fit it; one of another
/// program has none.
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
    let mut metadata = header.metadata().clone().unwrap_or_default();
    // Version 0.1 wrote its notes under keys of their own, as other programs do.
    if let Some(sorted) = metadata.remove(METADATA) {
        let problem = |error| format!("its metadata cannot be read ({error})");
        metadata = serde_json::from_str(&sorted)
            .map_err(|error| Error::bad_file(path, problem(error), remedy))?;
    }
    let views = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let sums = views.iter().map(|(name, view)| (name, XxHash3_64::oneshot(view.data())));
    if metadata.get(CHECKSUM).is_some_and(|sealed| *sealed != checksum(sums, &metadata)) {
        return Err(Error::bad_file(path, "is spoiled: its bytes do not give its sum", remedy));
    }
    let mut tensors = BTreeMap::new();
    for (name, view) in views.iter() {
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
    fn the_same_tensors_and_notes_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = |name: &str| {
            let path = folder.path().join(name);
            let notes = (0..20).map(|i| (format!("note {i}"), "kept".to_owned())).collect();
            write(&path, &[("a".into(), &Tensor::from_slice(&[1.5f32]))], notes).unwrap();
            std::fs::read(path).unwrap()
        };
        assert!(bytes("one") == bytes("other"));
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
        #![proptest_config(ProptestConfig::with_cases(1024))]

        /// A damaged file is refused; what is read of one all the same is what was written.
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
            if let Ok(file) = read(&path, "")
                && has_checksum(&file)
            {
                let (a, b) = sample(&path);
                prop_assert_eq!((&file.tensors["a"], &file.tensors["b"]), (&a, &b));
                prop_assert_eq!(&file.metadata["note"], "kept");
            }
        }
    }
}
