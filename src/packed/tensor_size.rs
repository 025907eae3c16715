//! What a tensor takes: the numbers that counting adds up.

use std::collections::BTreeMap;

/// Bits of a number in floating point.
const FLOAT_BITS: u128 = 32;

/// Bits of an entry of a codebook.
const ENTRY_BITS: u128 = 8;

/// What a tensor takes, in numbers and bits. Read off a file, or declared ([`TensorSize::declared`]).
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSize {
    /// (rows, columns), or (columns) for a vector.
    pub shape: Vec<usize>,
    /// Weights with a code: the non-zeros, or all where there is no mask.
    pub stored: u128,
    /// Bits of a code.
    pub code_bits: u32,
    /// Bits of a weight as the factor of a product: those of a codebook's entry, else of the code.
    pub value_bits: u32,
    /// Bits of the mask; 0 without one.
    pub mask_bits: u128,
    /// Scales, 32 bits each.
    pub scales: u128,
    /// Entries of the codebook, 8 bits each.
    pub book_entries: u128,
    /// Weights that are not 0.
    pub nonzeros: u128,
    /// Rows that are not all 0.
    pub nonempty_rows: u128,
    /// Columns that are not all 0.
    pub nonempty_columns: u128,
    /// Non-zeros of each row, and the sum of their integers' sizes; empty if they are not known.
    pub row_sums: Vec<(u64, u64)>,
    /// How many such tensors there are.
    pub times: u128,
}

impl TensorSize {
    /// A tensor in floating point.
    pub fn float(shape: &[usize]) -> Self {
        Self { scales: 0, ..Self::declared(shape, 0.0, FLOAT_BITS as u32, 0, 1) }
    }

    /// A tensor of which a fraction `zeros` is 0, as [`super::PackedTensor::encode`] would store it: without a mask
    /// where that takes fewer bits.
    ///
    /// * `bits`: of a weight; `scales`: how many; `block`: rows of a block of the mask.
    pub fn declared(shape: &[usize], zeros: f64, bits: u32, scales: u128, block: usize) -> Self {
        let (rows, columns) = rows_and_columns(shape);
        let elements = rows * columns;
        let nonzeros = elements - zeros_of(elements, zeros);
        let mask = rows.div_ceil(block.max(1) as u128) * columns;
        let is_sparse = nonzeros * u128::from(bits) + mask < elements * u128::from(bits);
        Self {
            shape: shape.into(),
            stored: if is_sparse { nonzeros } else { elements },
            code_bits: bits,
            value_bits: bits,
            mask_bits: if is_sparse { mask } else { 0 },
            scales,
            book_entries: 0,
            nonzeros,
            nonempty_rows: rows.min(nonzeros),
            nonempty_columns: columns.min(nonzeros),
            row_sums: vec![],
            times: 1,
        }
    }

    /// As it is, with a codebook of 2^bits entries.
    pub fn with_book(mut self) -> Self {
        self.book_entries = 1 << self.code_bits;
        self.value_bits = ENTRY_BITS as u32;
        self
    }

    pub fn rows(&self) -> u128 {
        rows_and_columns(&self.shape).0
    }

    pub fn columns(&self) -> u128 {
        rows_and_columns(&self.shape).1
    }

    /// Number of weights, the zeros included.
    pub fn elements(&self) -> u128 {
        self.rows() * self.columns()
    }

    /// Whether weights are in floating point.
    pub fn is_float(&self) -> bool {
        self.scales == 0
    }

    /// Additions of a matrix product by the width of the accumulator that its rows provably fit in: a row's sum is
    /// at most the sum of its integers' sizes times the largest activation, with a sign.
    ///
    /// * `activation_bits`: of the other factor, a symmetric integer.
    pub fn proved_additions(&self, activation_bits: u32) -> BTreeMap<u32, u128> {
        let mut additions = BTreeMap::new();
        let largest = (1u128 << (activation_bits - 1)) - 1;
        for &(nonzeros, sum) in &self.row_sums {
            if nonzeros > 1 {
                let bits = u128::BITS - (u128::from(sum) * largest).leading_zeros() + 1;
                *additions.entry(bits.min(FLOAT_BITS as u32)).or_insert(0) +=
                    u128::from(nonzeros - 1);
            }
        }
        additions
    }

    /// Bits of the tensor in a file: codes, mask, scales and codebook.
    pub fn storage_bits(&self) -> u128 {
        let each = self.stored * u128::from(self.code_bits)
            + self.mask_bits
            + self.scales * FLOAT_BITS
            + self.book_entries * ENTRY_BITS;
        each * self.times
    }
}

/// A vector is one row.
fn rows_and_columns(shape: &[usize]) -> (u128, u128) {
    match *shape {
        [rows, columns] => (rows as u128, columns as u128),
        _ => (1, shape.iter().map(|&n| n as u128).product()),
    }
}

/// The denominator of a fraction of zeros, which keeps counts exact in integers.
const UNITS: u128 = 1_000_000_000;

/// How many of these elements are 0: the fraction is rounded to nine digits, the product downwards.
pub(crate) fn zeros_of(elements: u128, fraction: f64) -> u128 {
    let units = (fraction * UNITS as f64).round() as u128;
    elements * units.min(UNITS) / UNITS
}
