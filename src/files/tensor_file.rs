//! Named tensors with metadata in a safetensors file.

use std::borrow::Cow;
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

/// The metadata key of the checksum.
const CHECKSUM: &str = "seal";

/// The only key of the safetensors metadata. Its value is all metadata as sorted JSON, because safetensors
/// writes keys in arbitrary order and files should be reproducible.
const METADATA: &str = "qrnn";

/// Writes tensors atomically, with a checksum of all contents. Kinds other than Float, Double and Uint8 become
/// Float.
///
/// # Errors
/// [`Error::Io`] if the disk is full or the folder is not writable; an existing file is then unchanged.
pub(crate) fn write(
    path: &Path,
    tensors: &[(String, &Tensor)],
    metadata: HashMap<String, String>,
) -> Result<()> {
    let (entries, tensors): (Vec<_>, Vec<_>) = entries(tensors)?.into_iter().unzip();
    let on_cpu = tensors.into_iter().map(|tensor| tensor.f_to_device(Device::Cpu));
    let on_cpu = on_cpu.collect::<Result<Vec<_>, _>>()?;
    write_bytes(path, entries, on_cpu.iter().map(|tensor| vec![bytes(tensor)]).collect(), metadata)
}

/// The bytes of a contiguous tensor on the CPU, uncopied: a checkpoint is three times as large as its model.
fn bytes(tensor: &Tensor) -> &[u8] {
    if tensor.numel() == 0 {
        return &[];
    }
    let length = tensor.numel() * tensor.kind().elt_size_in_bytes();
    // SAFETY: a contiguous tensor has `length` bytes, and no step changes it while a file is written here.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), length) }
}

/// Name, kind and shape of a tensor in a file.
#[derive(Debug)]
pub(crate) struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
}

/// Converts tensors for [`write_bytes`]: to kind Float, Double or Uint8 and contiguous, on their device.
///
/// # Errors
/// [`Error::Ops`] if memory runs out.
pub(crate) fn entries(tensors: &[(String, &Tensor)]) -> Result<Vec<(Entry, Tensor)>> {
    let _no_grad = tch::no_grad_guard();
    let entry = |(name, tensor): &(String, &Tensor)| {
        let (kind, dtype) = match tensor.kind() {
            Kind::Double => (Kind::Double, Dtype::F64),
            Kind::Uint8 => (Kind::Uint8, Dtype::U8),
            _ => (Kind::Float, Dtype::F32),
        };
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        let entry = Entry { name: name.clone(), dtype, shape };
        Ok((entry, tensor.f_to_kind(kind)?.f_contiguous()?))
    };
    tensors.iter().map(entry).collect()
}

/// As [`write`], for bytes already on the CPU: the consecutive slices of each entry. Does not call
/// libtorch.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_bytes(
    path: &Path,
    entries: Vec<Entry>,
    bytes: Vec<Vec<&[u8]>>,
    mut metadata: HashMap<String, String>,
) -> Result<()> {
    let tensors: Vec<_> = entries
        .into_iter()
        .zip(bytes)
        .map(|(entry, slices)| (entry.name.clone(), TensorData { entry, slices }))
        .collect();
    let sums =
        tensors.iter().map(|(name, tensor)| (name.as_str(), XxHash3_64::oneshot(&tensor.data())));
    let checksum = checksum(sums, &metadata);
    metadata.insert(CHECKSUM.into(), checksum);
    let sorted: BTreeMap<_, _> = metadata.into_iter().collect();
    let sorted =
        serde_json::to_string(&sorted).map_err(|error| Error::io(path, "write")(error.into()))?;
    let metadata = HashMap::from([(METADATA.to_owned(), sorted)]);
    atomic_file::write_by(path, |temporary| {
        safetensors::serialize_to_file(tensors, Some(metadata), temporary).map_err(|error| {
            match error {
                SafeTensorError::IoError(error) => error,
                other => std::io::Error::other(other),
            }
        })
    })
    .map_err(Error::io(path, "write"))
}

/// Whether a file that was read has a checksum, and so was verified.
pub(crate) fn has_checksum(file: &TensorFile) -> bool {
    file.metadata.contains_key(CHECKSUM)
}

/// The checksum of all tensors and metadata.
fn checksum<'a>(
    sums: impl Iterator<Item = (&'a str, u64)>,
    metadata: &HashMap<String, String>,
) -> String {
    let sums: BTreeMap<&str, u64> = sums.collect();
    let metadata: BTreeMap<&String, &String> =
        metadata.iter().filter(|(key, _)| *key != CHECKSUM).collect();
    format!("{:016x}", XxHash3_64::oneshot(format!("{sums:?}{metadata:?}").as_bytes()))
}

/// A tensor to be written: its bytes, in one or several slices.
struct TensorData<'a> {
    entry: Entry,
    slices: Vec<&'a [u8]>,
}

impl View for TensorData<'_> {
    fn dtype(&self) -> Dtype {
        self.entry.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.slices[..] {
            [whole] => Cow::Borrowed(whole),
            _ => Cow::Owned(self.slices.concat()),
        }
    }

    fn data_len(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }
}

/// Reads the metadata of a file only, without checking its checksum.
///
/// # Errors
/// [`Error::Io`]; [`Error::BadFile`] if the file is not a safetensors file.
pub(crate) fn read_metadata(path: &Path, remedy: &str) -> Result<HashMap<String, String>> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    metadata_of(path, &bytes, remedy)
}

fn metadata_of(path: &Path, bytes: &[u8], remedy: &str) -> Result<HashMap<String, String>> {
    let broken = |error: safetensors::SafeTensorError| {
        Error::bad_file(path, format!("is not a complete safetensors file ({error})"), remedy)
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let mut metadata = header.metadata().clone().unwrap_or_default();
    // Version 0.1, like other programs, wrote each entry under its own key.
    if let Some(sorted) = metadata.remove(METADATA) {
        let problem = |error| format!("its metadata cannot be read ({error})");
        metadata = serde_json::from_str(&sorted)
            .map_err(|error| Error::bad_file(path, problem(error), remedy))?;
    }
    Ok(metadata)
}

/// Reads a file and verifies its checksum, which files of other programs lack. Half precision becomes
/// Float.
///
/// # Errors
/// [`Error::Io`]; [`Error::BadFile`] if the file is damaged, is not a safetensors file, or holds tensors
/// that are neither floating point nor bytes.
pub(crate) fn read(path: &Path, remedy: &str) -> Result<TensorFile> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let broken = |error: safetensors::SafeTensorError| {
        Error::bad_file(path, format!("is not a complete safetensors file ({error})"), remedy)
    };
    let metadata = metadata_of(path, &bytes, remedy)?;
    let views = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let sums = views.iter().map(|(name, view)| (name, XxHash3_64::oneshot(view.data())));
    if metadata.get(CHECKSUM).is_some_and(|stored| *stored != checksum(sums, &metadata)) {
        return Err(Error::bad_file(
            path,
            "is damaged: its checksum does not match its contents",
            remedy,
        ));
    }
    let mut tensors = BTreeMap::new();
    for (name, view) in views.iter() {
        let (kind, stored_kind) = match view.dtype() {
            Dtype::F32 => (Kind::Float, Kind::Float),
            Dtype::F64 => (Kind::Double, Kind::Double),
            Dtype::F16 => (Kind::Half, Kind::Float),
            Dtype::BF16 => (Kind::BFloat16, Kind::Float),
            Dtype::U8 => (Kind::Uint8, Kind::Uint8),
            other => {
                let problem = format!("tensor {name} holds {other:?}, not floating-point numbers");
                return Err(Error::bad_file(path, problem, remedy));
            }
        };
        let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?.f_to_kind(stored_kind)?;
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
        let metadata = HashMap::from([("note".to_owned(), "stored".to_owned())]);
        write(path, &[("a".into(), &a), ("b".into(), &b)], metadata).unwrap();
        (a, b)
    }

    #[test]
    fn the_same_tensors_and_metadata_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = |name: &str| {
            let path = folder.path().join(name);
            let metadata = (0..20).map(|i| (format!("note {i}"), "stored".to_owned())).collect();
            write(&path, &[("a".into(), &Tensor::from_slice(&[1.5f32]))], metadata).unwrap();
            std::fs::read(path).unwrap()
        };
        assert!(bytes("one") == bytes("other"));
    }

    #[test]
    fn tensors_and_metadata_are_read_back_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (a, b) = sample(&path);
        let file = read(&path, "").unwrap();
        assert_eq!((&file.tensors["a"], &file.tensors["b"]), (&a, &b));
        assert_eq!(file.metadata["note"], "stored");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn a_damaged_file_is_refused_or_read_correctly(cut in 0..200usize, at in 0..200usize, byte: u8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            drop(sample(&path));
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(file) = read(&path, "")
                && has_checksum(&file)
            {
                let (a, b) = sample(&path);
                prop_assert_eq!((&file.tensors["a"], &file.tensors["b"]), (&a, &b));
                prop_assert_eq!(&file.metadata["note"], "stored");
            }
        }
    }
}
