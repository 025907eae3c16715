use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::packed::{Encoding, Grid, ScalePer};

fn sample() -> PackedFile {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let mut weights = |n: usize, zeros: f64| -> Vec<f32> {
        (0..n)
            .map(|_| if rng.random::<f64>() < zeros { 0.0 } else { rng.random::<f32>() - 0.5 })
            .collect()
    };
    let rows = Encoding { scale_per: ScalePer::Row, ..Encoding::integers(8) };
    let book = Encoding { grid: Grid::Codebook, ..Encoding::integers(4) };
    let blocks = Encoding { block: 4, ..Encoding::integers(5) };
    let packed = |shape: &[usize], weights: Vec<f32>, encoding| {
        StoredTensor::Packed(PackedTensor::encode(shape, &weights, encoding))
    };
    let bias = StoredTensor::Float { shape: vec![9], values: weights(9, 0.0) };
    let tensors = [
        ("rnns.0.linear.weight", packed(&[9, 14], weights(126, 0.6), rows)),
        ("rnns.0.linear.bias", bias),
        ("encoder.0.weight", packed(&[11, 6], weights(66, 0.5), book)),
        ("encoder.1.weight", packed(&[7, 3], weights(21, 0.8), blocks)),
        ("decoder.bias", packed(&[18], weights(18, 0.0), Encoding::integers(7))),
    ];
    PackedFile {
        tensors: tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into(),
        metadata: [("note".to_owned(), "kept".to_owned())].into(),
    }
}

fn written(file: &PackedFile) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    file.write(&path).unwrap();
    (folder, path)
}

#[test]
fn a_file_is_read_back_and_written_again_to_the_byte() {
    let file = sample();
    let (_folder, path) = written(&file);
    assert!(PackedFile::is_packed(&path).unwrap());
    let read = PackedFile::read(&path).unwrap();
    assert_eq!(read, file);
    let bytes = std::fs::read(&path).unwrap();
    read.write(&path).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
}

/// `stat` checks a count: the file is the counted bits, less than a byte of padding per entry, and the header.
#[test]
fn the_size_of_a_file_is_what_is_counted_plus_its_header() {
    let file = sample();
    let (_folder, path) = written(&file);
    let bytes = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let counted = file.storage_bits();
    let data = (bytes.len() - header) as u128 * 8;
    assert!(
        data >= counted && data < counted + 8 * 20,
        "{data} bits in the file, {counted} counted"
    );
    assert!(header < 16 << 10);
}

#[test]
fn other_files_are_not_compressed_models() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for bytes in [&b""[..], b"text", &[255; 40], &[9; 7]] {
        std::fs::write(&path, bytes).unwrap();
        assert!(!PackedFile::is_packed(&path).unwrap());
        assert!(matches!(PackedFile::read(&path), Err(Error::BadFile { .. })));
    }
    assert!(matches!(PackedFile::is_packed(&folder.path().join("none")), Err(Error::Io { .. })));
}

/// Without checksums, as another program may write a file, each inconsistency is still found.
#[test]
fn inconsistent_tensors_are_refused_by_name() {
    type Change = fn(&mut PackedFile);
    fn tensor<'a>(file: &'a mut PackedFile, name: &str) -> &'a mut PackedTensor {
        match file.tensors.get_mut(name) {
            Some(StoredTensor::Packed(tensor)) => tensor,
            other => panic!("{other:?}"),
        }
    }
    let changes: [(Change, &str); 10] = [
        (|file| tensor(file, "encoder.0.weight").scales[0] = 0.0, "encoder.0.weight.scale holds 0"),
        (
            |file| tensor(file, "encoder.0.weight").scales[0] = f32::NAN,
            "encoder.0.weight.scale holds NaN",
        ),
        (
            |file| tensor(file, "rnns.0.linear.weight").scales.truncate(2),
            "scale has 2 numbers, not 1 or 9",
        ),
        (|file| tensor(file, "encoder.1.weight").codes.push(0), "encoder.1.weight.codes has"),
        (|file| tensor(file, "rnns.0.linear.weight").codes[3] = 0, "holds a 0 that the mask"),
        (|file| tensor(file, "rnns.0.linear.weight").codes[3] = 0x80, "holds -128"),
        (
            |file| tensor(file, "encoder.0.weight").book.as_mut().unwrap()[2] = -128,
            "book holds -128",
        ),
        (|file| tensor(file, "encoder.0.weight").bits = 9, "has 9 bits"),
        (|file| tensor(file, "decoder.bias").shape = vec![usize::MAX, 9], "decoder.bias has shape"),
        (
            |file| tensor(file, "rnns.0.linear.weight").mask.as_mut().unwrap()[15] |= 0x80,
            "mask is not a mask",
        ),
    ];
    for (change, message) in changes {
        let mut file = sample();
        change(&mut file);
        let (_folder, path) = written(&file);
        let error = PackedFile::read(&path).unwrap_err();
        assert!(matches!(error, Error::BadFile { .. }));
        assert!(error.to_string().contains(message), "{error} instead of {message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_damaged_file_is_refused_or_read_correctly(cut in 0usize..300, at in any::<prop::sample::Index>(), byte: u8) {
        let file = sample();
        let (_folder, path) = written(&file);
        let mut bytes = std::fs::read(&path).unwrap();
        let whole = bytes.clone();
        bytes.truncate(bytes.len() - cut.saturating_sub(150));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        std::fs::write(&path, &bytes).unwrap();
        match PackedFile::read(&path) {
            Err(error) => prop_assert!(error.to_string().contains("model.safetensors"), "{error}"),
            // Without its checksums, a file is that of another program.
            Ok(read) => prop_assert!(bytes == whole || read.tensors == file.tensors),
        }
    }

    #[test]
    fn a_changed_byte_of_a_tensor_is_refused_by_its_name(at in any::<prop::sample::Index>(), change in 1u8..) {
        let (_folder, path) = written(&sample());
        let mut bytes = std::fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let at = header + at.index(bytes.len() - header);
        bytes[at] ^= change;
        std::fs::write(&path, &bytes).unwrap();
        let error = PackedFile::read(&path).unwrap_err().to_string();
        prop_assert!(["rnns.0.", "encoder.", "decoder.bias"].iter().any(|name| error.contains(name)), "{error}");
    }
}
