//! Scales and codebook of one tensor, with which its weights are rounded.

use super::bits::{pack, pack_mask};
use super::blocks::Blocks;
use super::codebook::{Histogram, nearest};
use super::grid::{Encoding, Grid, MAX_ENTRY, ScalePer};
use super::tensor::PackedTensor;

/// Rounds the weights of a tensor: to integers times a scale, or to entries of a codebook times a scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantizer {
    pub encoding: Encoding,
    /// One, or one per row.
    pub scales: Vec<f32>,
    /// Ascending integers, at most 2^bits; `None` for a grid of integers.
    pub book: Option<Vec<i8>>,
}

impl Quantizer {
    /// Chooses scales and codebook for weights.
    ///
    /// * `shape`: (rows, columns), or (columns) for a vector; `weights`: row by row, finite.
    pub fn fit(encoding: Encoding, shape: &[usize], weights: &[f32]) -> Self {
        let scales = match encoding.scale_per {
            ScalePer::Tensor => vec![encoding.scale(weights)],
            ScalePer::Row => {
                weights.chunks(columns(shape)).map(|row| encoding.scale(row)).collect()
            }
        };
        let mut quantizer = Self { encoding, scales, book: None };
        if encoding.grid == Grid::Codebook {
            let integers = quantizer.integers(shape, weights);
            let is_sparse = quantizer.blocks(shape).are_sparse(&integers, encoding.bits);
            let stored = quantizer.blocks(shape).stored_integers(&integers, is_sparse);
            // Weights of a block may become 0 later.
            let with_zero = stored.contains(&0) || encoding.block > 1;
            let counts = Histogram::new(stored.into_iter().map(i32::from));
            quantizer.book = Some(counts.book(1 << encoding.bits, with_zero));
        }
        quantizer
    }

    /// The integer that each integer from -127 to 127 is rounded to; `None` for a grid of integers. 0 stays 0, and
    /// nothing else becomes 0, so that zeros are the same before and after.
    pub fn rounded_integers(&self) -> Option<Vec<i8>> {
        self.book.as_deref().map(Self::rounded_to)
    }

    /// As [`Quantizer::rounded_integers`], to the entries of a codebook, ascending.
    pub fn rounded_to(book: &[i8]) -> Vec<i8> {
        let book: Vec<i8> = book.iter().copied().filter(|&entry| entry != 0).collect();
        let round = |integer: i32| match (integer, book.is_empty()) {
            (0, _) | (_, true) => 0,
            _ => book[nearest(&book, integer)],
        };
        (-MAX_ENTRY..=MAX_ENTRY).map(round).collect()
    }

    /// The scale of a row.
    fn scale(&self, row: usize) -> f32 {
        self.scales[if self.scales.len() == 1 { 0 } else { row }]
    }

    fn blocks(&self, shape: &[usize]) -> Blocks {
        Blocks::of(shape, self.encoding.block)
    }

    /// The integers nearest to the weights, before the codebook.
    fn integers(&self, shape: &[usize], weights: &[f32]) -> Vec<i8> {
        let mut integers = Vec::with_capacity(weights.len());
        for (r, row) in weights.chunks(columns(shape)).enumerate() {
            let inverse = 1.0 / self.scale(r);
            integers.extend(row.iter().map(|&weight| self.encoding.round(weight, inverse) as i8));
        }
        integers
    }

    /// Rounds and packs weights; those that are 0 are not stored, unless storing all takes fewer bits.
    pub fn encode(&self, shape: &[usize], weights: &[f32]) -> PackedTensor {
        let Encoding { bits, block, .. } = self.encoding;
        let integers = self.integers(shape, weights);
        let blocks = self.blocks(shape);
        // A codebook without 0 cannot store one.
        let has_zero = self.book.as_ref().is_none_or(|book| book.contains(&0));
        let is_sparse = blocks.are_sparse(&integers, bits) || (!has_zero && integers.contains(&0));
        let stored = blocks.stored_integers(&integers, is_sparse);
        let mask = is_sparse.then(|| pack_mask(blocks.nonzero(&integers).into_iter()));
        let (codes, book) = match (&self.book, self.rounded_integers()) {
            (Some(book), Some(rounded)) => {
                let index = |integer: i8| {
                    let entry = rounded[(i32::from(integer) + MAX_ENTRY) as usize];
                    book.iter().position(|&other| other == entry).unwrap_or(0) as i8
                };
                let codes: Vec<i8> = stored.iter().map(|&integer| index(integer)).collect();
                // Entries that no weight uses.
                let mut book = book.clone();
                book.resize(1 << bits, book.last().copied().unwrap_or(1));
                (pack(&codes, bits), Some(book))
            }
            _ => (pack(&stored, bits), None),
        };
        let (shape, scales) = (shape.to_vec(), self.scales.clone());
        PackedTensor { shape, bits, block, mask, codes, scales, book }
    }
}

impl PackedTensor {
    /// Rounds and packs a tensor; weights that are 0 are not stored, unless storing all takes fewer bits.
    ///
    /// * `shape`: (rows, columns), or (columns) for a vector; `weights`: row by row, finite.
    pub fn encode(shape: &[usize], weights: &[f32], encoding: Encoding) -> Self {
        Quantizer::fit(encoding, shape, weights).encode(shape, weights)
    }
}

fn columns(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(1).max(1)
}
