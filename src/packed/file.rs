//! The file of a compressed model: safetensors with masks, codes, scales and codebooks.
//!
//! The tensor NAME is stored as the entries NAME.mask (U8, one bit per block), NAME.codes (U8, packed), NAME.scale
//! (F32, one or one per row) and NAME.book (I8), or as NAME (F32) if it is not compressed. The metadata entry
//! `tensors` gives the shape, bits and block of each packed one.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use twox_hash::XxHash3_64;

use super::stored::StoredTensor;
use super::tensor::PackedTensor;
use super::validation::{self, Description};
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// The value of the metadata entry `format`.
pub const FORMAT: &str = "qrnn-compressed/1";

/// Metadata keys.
const FORMAT_KEY: &str = "format";
const TENSORS: &str = "tensors";
const CHECKSUMS: &str = "checksums";
const SAFETENSORS_METADATA: &str = "__metadata__";

const REMEDY: &str =
    "write it again with `reproduce compress`, or copy it again from where it is whole";

/// All tensors of a compressed model, and the metadata that say what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedFile {
    pub tensors: BTreeMap<String, StoredTensor>,
    /// Without the entries that describe the tensors.
    pub metadata: BTreeMap<String, String>,
}

/// Name, type, shape and bytes of an entry.
type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

impl PackedFile {
    /// Writes the file atomically. The same contents give the same bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; an existing file is then unchanged.
    pub fn write(&self, path: &Path) -> Result<()> {
        let encoding = |error: serde_json::Error| Error::io(path, "write")(error.into());
        let bytes = self.to_bytes().map_err(encoding)?;
        atomic_file::write(path, &bytes).map_err(Error::io(path, "write"))
    }

    fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut entries: Vec<Entry> = vec![];
        let mut descriptions = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            match tensor {
                StoredTensor::Float { shape, values } => {
                    entries.push((name.clone(), Dtype::F32, shape.clone(), le_bytes(values)));
                }
                StoredTensor::Packed(tensor) => {
                    entries.extend(packed_entries(name, tensor));
                    let PackedTensor { shape, bits, block, .. } = tensor;
                    let shape = shape.clone();
                    descriptions.insert(name, Description { shape, bits: *bits, block: *block });
                }
            }
        }
        let mut checksums: BTreeMap<&str, String> =
            entries.iter().map(|(name, _, _, bytes)| (name.as_str(), checksum(bytes))).collect();
        let mut metadata = self.metadata.clone();
        metadata.insert(FORMAT_KEY.into(), FORMAT.into());
        metadata.insert(TENSORS.into(), serde_json::to_string(&descriptions)?);
        let sum_of_metadata = checksum_of_metadata(&metadata);
        checksums.insert(SAFETENSORS_METADATA, sum_of_metadata);
        metadata.insert(CHECKSUMS.into(), serde_json::to_string(&checksums)?);
        let views = entries.iter().filter_map(|(name, dtype, shape, bytes)| {
            Some((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).ok()?))
        });
        let bytes = safetensors::serialize(views, None)
            .map_err(<serde_json::Error as serde::ser::Error>::custom)?;
        with_metadata(&bytes, &metadata)
    }

    /// Whether a file is of a compressed model: reads its header only. False for a file that is not
    /// safetensors.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_packed(path: &Path) -> Result<bool> {
        use std::io::Read;
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(path)?;
            let mut length = [0; 8];
            file.read_exact(&mut length)?;
            // The header of a model with its words is longer, and not one of ours.
            let length = u64::from_le_bytes(length).min(MAX_HEADER);
            let mut header = vec![];
            file.take(length).read_to_end(&mut header)?;
            Ok(header)
        };
        let header = match read() {
            Ok(header) => header,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(Error::io(path, "read")(error)),
        };
        let header: serde_json::Value = serde_json::from_slice(&header).unwrap_or_default();
        let format = header[SAFETENSORS_METADATA][FORMAT_KEY].as_str().unwrap_or_default();
        Ok(format.starts_with("qrnn-compressed/"))
    }

    /// Reads a file, and checks each tensor.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] naming the tensor that is damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        let damaged = |problem: String| Error::bad_file(path, problem, REMEDY);
        let broken = |error| damaged(format!("is not a complete safetensors file ({error})"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let mut metadata: BTreeMap<String, String> =
            header.metadata().clone().unwrap_or_default().into_iter().collect();
        let mut checksums: Option<BTreeMap<String, String>> = metadata
            .remove(CHECKSUMS)
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| damaged(format!("its checksums cannot be read ({error})")))?;
        let expected = checksums.as_mut().map(|sums| sums.remove(SAFETENSORS_METADATA));
        if expected.is_some_and(|sum| sum != Some(checksum_of_metadata(&metadata))) {
            return Err(damaged("its metadata are damaged: their checksum does not match".into()));
        }
        match metadata.remove(FORMAT_KEY).as_deref() {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(Error::bad_file(
                    path,
                    format!("has the format {other}, but this version reads {FORMAT}"),
                    "read it with the version of qrnn that wrote it",
                ));
            }
            None => return Err(damaged("is not the file of a compressed model".into())),
        }
        let descriptions = metadata.remove(TENSORS).unwrap_or_default();
        let descriptions: BTreeMap<String, Description> = serde_json::from_str(&descriptions)
            .map_err(|error| damaged(format!("its list of tensors cannot be read ({error})")))?;

        let views = SafeTensors::deserialize(&bytes).map_err(broken)?;
        let mut entries: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (name, view) in views.iter() {
            let expected = checksums.as_ref().map(|checksums| checksums.get(name));
            if let Some(expected) = expected
                && expected != Some(&checksum(view.data()))
            {
                let problem = format!("tensor {name} is damaged: its checksum does not match");
                return Err(damaged(problem));
            }
            let entry = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            entries.insert(name.to_owned(), entry);
        }
        if let Some(missing) =
            checksums.iter().flat_map(BTreeMap::keys).find(|name| !entries.contains_key(*name))
        {
            return Err(damaged(format!("has no tensor {missing}")));
        }
        let tensors = validation::tensors(entries, descriptions).map_err(damaged)?;
        Ok(Self { tensors, metadata })
    }

    /// Bytes of the file, its header included; 0 if it cannot be encoded.
    pub fn bytes(&self) -> u64 {
        self.to_bytes().map_or(0, |bytes| bytes.len() as u64)
    }

    /// Bits of all tensors as they are counted; the file has padding to whole bytes, and a header, in addition.
    pub fn storage_bits(&self) -> u128 {
        self.tensors.values().map(|tensor| tensor.size().storage_bits()).sum()
    }
}

/// Most bytes of a header: a compressed model has few tensors, and its words lie in a file beside it.
const MAX_HEADER: u64 = 1 << 20;

fn packed_entries(name: &str, tensor: &PackedTensor) -> Vec<Entry> {
    let bytes = |what: &str, bytes: &[u8]| {
        (format!("{name}.{what}"), Dtype::U8, vec![bytes.len()], bytes.to_vec())
    };
    let scales = vec![tensor.scales.len()];
    let mut entries = vec![
        bytes("codes", &tensor.codes),
        (format!("{name}.scale"), Dtype::F32, scales, le_bytes(&tensor.scales)),
    ];
    if let Some(mask) = &tensor.mask {
        entries.push(bytes("mask", mask));
    }
    if let Some(book) = &tensor.book {
        let entries_of_book = book.iter().map(|&entry| entry as u8).collect();
        entries.push((format!("{name}.book"), Dtype::I8, vec![book.len()], entries_of_book));
    }
    entries
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:016x}", XxHash3_64::oneshot(bytes))
}

/// The checksum of all metadata but the checksums.
fn checksum_of_metadata(metadata: &BTreeMap<String, String>) -> String {
    checksum(format!("{metadata:?}").as_bytes())
}

/// Adds sorted metadata to a serialized file: the library writes them in arbitrary order, and files should be
/// reproducible.
fn with_metadata(bytes: &[u8], metadata: &BTreeMap<String, String>) -> serde_json::Result<Vec<u8>> {
    let (length, rest) = bytes.split_at(8);
    let length = length.iter().rev().fold(0usize, |length, &byte| length << 8 | usize::from(byte));
    let (header, data) = rest.split_at(length);
    let mut header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header)?;
    header.insert(SAFETENSORS_METADATA.into(), serde_json::to_value(metadata)?);
    let mut header = serde_json::to_vec(&header)?;
    // The data begin at a multiple of 8, as in files of the library.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes(), &header[..], data].concat())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
