//! Stored tensors in the form that products read.

use qrnn_ops::packed::PackedMatrix;

use super::bits::pack_mask;
use super::tensor::PackedTensor;
use crate::Result;

impl PackedTensor {
    /// The integers as a matrix for products: sparse where the tensor has a mask.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if it has more columns or elements than products take.
    pub(crate) fn matrix(&self) -> Result<PackedMatrix> {
        let (rows, columns) = self.size2();
        let book = self.book.as_deref();
        Ok(match &self.mask {
            // A mask of blocks of rows becomes one of single elements.
            Some(_) if self.block > 1 => {
                let integers = self.integers();
                let mask = pack_mask(integers.iter().map(|&integer| integer != 0));
                let codes: Vec<i8> = integers.into_iter().filter(|integer| *integer != 0).collect();
                PackedMatrix::bitmask(rows, columns, &mask, &codes)
            }
            mask => PackedMatrix::from_entries(
                (rows, columns),
                mask.as_deref(),
                &self.codes,
                self.bits,
                book,
            ),
        }
        .map_err(qrnn_ops::Error::from)?)
    }

    /// The transposed integers as a matrix for products.
    ///
    /// # Errors
    /// As [`PackedTensor::matrix`].
    pub(crate) fn transposed_matrix(&self) -> Result<PackedMatrix> {
        let (rows, columns) = self.size2();
        let integers = self.integers();
        let transposed: Vec<i8> = (0..columns)
            .flat_map(|column| integers.iter().skip(column).step_by(columns).copied())
            .collect();
        let matrix = PackedMatrix::dense8(columns, rows, &transposed);
        Ok(matrix.map_err(qrnn_ops::Error::from)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::packed::{Encoding, Grid, PackedTensor, ScalePer};

    proptest! {
        #[test]
        fn matrices_hold_the_integers(
            rows in 1usize..20,
            columns in 1usize..40,
            bits in 2u32..=8,
            codebook: bool,
            block in 1usize..5,
            zeros in 0.0f64..1.0,
            seed in any::<u64>(),
        ) {
            use rand::{RngExt, SeedableRng};
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let weights: Vec<f32> = (0..rows * columns)
                .map(|_| if rng.random::<f64>() < zeros { 0.0 } else { rng.random::<f32>() - 0.5 })
                .collect();
            let grid = if codebook { Grid::Codebook } else { Grid::Integers };
            let encoding =
                Encoding { bits, grid, scale_per: ScalePer::Row, power_of_two: false, block };
            let tensor = PackedTensor::encode(&[rows, columns], &weights, encoding);
            let integers = tensor.integers();
            let mut codes = vec![0; rows * columns];
            tensor.matrix().unwrap().decode(0..rows, &mut codes).unwrap();
            prop_assert_eq!(&codes, &integers);
            tensor.transposed_matrix().unwrap().decode(0..columns, &mut codes).unwrap();
            for (i, integer) in integers.iter().enumerate() {
                prop_assert_eq!(codes[i % columns * rows + i / columns], *integer);
            }
        }
    }
}
