//! A weight matrix as it is stored.

use super::bits::{bytes, is_set, unpack, unpack_unsigned};
use super::blocks::Blocks;
use super::tensor_size::TensorSize;

/// A matrix, or a vector, whose weights are integers times a scale, and whose zeros may be stored as one bit.
///
/// A kept weight that rounds to 0 becomes a zero of the mask, so that the mask is exactly the non-zeros. With
/// blocks of several rows, all weights of a block are stored if one of them is not 0.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedTensor {
    /// (rows, columns), or (columns) for a vector.
    pub(super) shape: Vec<usize>,
    /// Bits of a code.
    pub(super) bits: u32,
    /// Rows of a block of the mask.
    pub(super) block: usize,
    /// One bit per block, row by row; `None` if storing all weights takes fewer bits.
    pub(super) mask: Option<Vec<u8>>,
    /// The codes of the stored weights, row by row.
    pub(super) codes: Vec<u8>,
    /// One scale, or one per row.
    pub(super) scales: Vec<f32>,
    /// 2^bits integers that codes are indices of; `None` if codes are integers in two's complement.
    pub(super) book: Option<Vec<i8>>,
}

impl PackedTensor {
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bits of a code.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Whether codes are indices of a codebook.
    pub fn has_book(&self) -> bool {
        self.book.is_some()
    }

    /// One scale, or one per row.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Rows and columns; a vector is one row.
    pub fn size2(&self) -> (usize, usize) {
        match self.shape[..] {
            [rows, columns] => (rows, columns),
            _ => (1, self.shape.iter().product()),
        }
    }

    pub(super) fn blocks(&self) -> Blocks {
        Blocks::of(&self.shape, self.block)
    }

    /// Number of weights with a code.
    pub(super) fn stored(&self) -> usize {
        match &self.mask {
            Some(mask) => self.blocks().stored(|block| is_set(mask, block)),
            None => self.shape.iter().product(),
        }
    }

    /// Bytes that the codes take.
    pub(super) fn code_bytes(&self) -> usize {
        bytes(self.stored(), self.bits)
    }

    /// The integers of the stored weights, in the order of their codes.
    fn stored_integers(&self) -> Vec<i8> {
        let stored = self.stored();
        match &self.book {
            None => unpack(&self.codes, self.bits, stored).collect(),
            Some(book) => unpack_unsigned(&self.codes, self.bits, stored)
                .map(|index| book[usize::from(index)])
                .collect(),
        }
    }

    /// The integers of all weights, row by row: 0 where the mask is 0.
    pub fn integers(&self) -> Vec<i8> {
        let Some(mask) = &self.mask else { return self.stored_integers() };
        let mut integers = vec![0; self.shape.iter().product()];
        let mut stored = self.stored_integers().into_iter();
        let blocks = self.blocks();
        for (i, _) in blocks.elements().filter(|&(_, block)| is_set(mask, block)) {
            integers[i] = stored.next().unwrap_or(0);
        }
        integers
    }

    /// The weights, row by row: integers times their scale, rounded once to single precision.
    pub fn decode(&self) -> Vec<f32> {
        let (_, columns) = self.size2();
        let integers = self.integers();
        let mut weights = Vec::with_capacity(integers.len());
        for (r, row) in integers.chunks(columns.max(1)).enumerate() {
            let scale = self.scales[if self.scales.len() == 1 { 0 } else { r }];
            weights.extend(row.iter().map(|&integer| f32::from(integer) * scale));
        }
        weights
    }

    /// What counting needs to know.
    pub fn size(&self) -> TensorSize {
        let (rows, columns) = self.size2();
        let integers = self.integers();
        let mut size = TensorSize {
            shape: self.shape.clone(),
            stored: self.stored() as u128,
            code_bits: self.bits,
            value_bits: if self.book.is_some() { 8 } else { self.bits },
            mask_bits: if self.mask.is_some() { self.blocks().count() as u128 } else { 0 },
            scales: self.scales.len() as u128,
            book_entries: self.book.as_ref().map_or(0, |book| book.len() as u128),
            nonzeros: 0,
            nonempty_rows: 0,
            nonempty_columns: 0,
            row_sums: vec![],
            times: 1,
        };
        let mut in_column = vec![false; columns];
        for row in integers.chunks(columns.max(1)).take(rows) {
            in_column.iter_mut().zip(row).for_each(|(any, &integer)| *any |= integer != 0);
            let nonzeros = row.iter().filter(|&&integer| integer != 0).count();
            let sum = row.iter().map(|integer| u64::from(integer.unsigned_abs())).sum::<u64>();
            size.nonzeros += nonzeros as u128;
            size.nonempty_rows += u128::from(nonzeros > 0);
            size.row_sums.push((nonzeros as u64, sum));
        }
        size.nonempty_columns = in_column.into_iter().filter(|any| *any).count() as u128;
        size
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packed::{Encoding, Grid, Quantizer, ScalePer};

    fn encoding(bits: u32, grid: Grid, scale_per: ScalePer, block: usize) -> Encoding {
        Encoding { bits, grid, scale_per, power_of_two: false, block }
    }

    #[test]
    fn a_small_matrix_is_packed_as_documented() {
        let weights = [0.0, 1.0, 0.0, 0.0, -0.5, 0.0, 0.0, 0.0, 0.25];
        let tensor = PackedTensor::encode(&[3, 3], &weights, Encoding::integers(8));
        assert_eq!(tensor.mask.as_deref(), Some(&[0b0001_0010, 0b1][..]));
        assert_eq!(tensor.codes, [127, -64i8 as u8, 32]);
        assert_eq!(tensor.scales, [1.0 / 127.0]);
        assert_eq!(tensor.integers(), [0, 127, 0, 0, -64, 0, 0, 0, 32]);
        let size = tensor.size();
        assert_eq!((size.nonzeros, size.nonempty_rows, size.mask_bits), (3, 3, 9));
        assert_eq!(size.storage_bits(), 3 * 8 + 9 + 32);
        assert_eq!(size.row_sums, [(1, 127), (1, 64), (1, 32)]);
    }

    #[test]
    fn a_dense_matrix_has_no_mask() {
        let weights: Vec<f32> = (1..=12).map(|i| i as f32).collect();
        let tensor = PackedTensor::encode(&[3, 4], &weights, Encoding::integers(4));
        assert!(tensor.mask.is_none());
        assert_eq!(tensor.size().storage_bits(), 12 * 4 + 32);
        // One zero in twelve saves 4 bits and would cost 12.
        let mut weights = weights;
        weights[5] = 0.0;
        let tensor = PackedTensor::encode(&[3, 4], &weights, Encoding::integers(4));
        assert!(tensor.mask.is_none());
        assert_eq!(tensor.size().nonzeros, 11);
        assert_eq!(tensor.decode()[5], 0.0);
    }

    #[test]
    fn blocks_keep_their_zeros() {
        // Blocks of two rows: (rows 0 and 1), (rows 2 and 3), (row 4).
        let mut weights = vec![0.0; 5 * 3];
        weights[3] = 1.0; // row 1, column 0
        weights[14] = -1.0; // row 4, column 2
        let packed = encoding(8, Grid::Integers, ScalePer::Tensor, 2);
        let tensor = PackedTensor::encode(&[5, 3], &weights, packed);
        assert_eq!(tensor.blocks().count(), 9);
        assert_eq!(tensor.mask.as_deref(), Some(&[0b1, 0b1][..]));
        assert_eq!(tensor.stored(), 3);
        assert_eq!(tensor.codes, [0, 127, -127i8 as u8]);
        assert_eq!(tensor.decode(), weights);
    }

    proptest! {
        /// Encoding what was decoded changes nothing, and each weight is off by at most half a step of the grid.
        #[test]
        fn decoding_is_encoding_backwards(
            rows in 1usize..9,
            columns in 1usize..20,
            bits in 2u32..=8,
            per_row: bool,
            power_of_two: bool,
            block in 1usize..4,
            zeros in 0.0f64..1.0,
            seed in any::<u64>(),
        ) {
            use rand::{RngExt, SeedableRng};
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let weights: Vec<f32> = (0..rows * columns)
                .map(|_| if rng.random::<f64>() < zeros { 0.0 } else { rng.random::<f32>() - 0.5 })
                .collect();
            let scale_per = if per_row { ScalePer::Row } else { ScalePer::Tensor };
            let encoding = Encoding { power_of_two, ..encoding(bits, Grid::Integers, scale_per, block) };
            let tensor = PackedTensor::encode(&[rows, columns], &weights, encoding);
            prop_assert_eq!(tensor.codes.len(), tensor.code_bytes());
            let decoded = tensor.decode();
            for (i, (weight, decoded)) in weights.iter().zip(&decoded).enumerate() {
                let scale = tensor.scales[if per_row { i / columns } else { 0 }];
                let largest = scale * encoding.largest() as f32;
                let bound = (scale * 0.5001).max(weight.abs() - largest);
                prop_assert!((weight - decoded).abs() <= bound * 1.0001, "{weight} {decoded} {scale}");
            }
            let scales = tensor.scales.clone();
            let again = Quantizer { encoding, scales, book: None }.encode(&[rows, columns], &decoded);
            prop_assert_eq!(&again, &tensor);
            let size = tensor.size();
            prop_assert!(size.storage_bits() <= (rows * columns) as u128 * u128::from(bits) + size.scales * 32);
            if block == 1 && tensor.mask.is_some() {
                prop_assert_eq!(size.nonzeros, size.stored);
            }
        }

        #[test]
        fn a_codebook_holds_what_is_decoded(
            columns in 1usize..60,
            bits in 2u32..=8,
            zeros in 0.0f64..1.0,
            seed in any::<u64>(),
        ) {
            use rand::{RngExt, SeedableRng};
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let weights: Vec<f32> = (0..3 * columns)
                .map(|_| if rng.random::<f64>() < zeros { 0.0 } else { rng.random::<f32>() - 0.5 })
                .collect();
            let encoding = encoding(bits, Grid::Codebook, ScalePer::Row, 1);
            let quantizer = Quantizer::fit(encoding, &[3, columns], &weights);
            let tensor = quantizer.encode(&[3, columns], &weights);
            let again = quantizer.encode(&[3, columns], &tensor.decode());
            prop_assert_eq!(again.decode(), tensor.decode());
            prop_assert_eq!(tensor.book.as_ref().map(Vec::len), Some(1 << bits));
            for (i, (weight, decoded)) in weights.iter().zip(tensor.decode()).enumerate() {
                prop_assert!(*weight != 0.0 || decoded == 0.0);
                if bits == 8 {
                    let scale = tensor.scales[i / columns];
                    prop_assert!((weight - decoded).abs() <= scale * 0.51);
                }
            }
        }
    }
}
