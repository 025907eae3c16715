//! A matrix product as it was met, to be run again by itself.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::{Added, Products};
use crate::Result;

/// The shape of a product: what its time depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Product {
    /// Rows of the result.
    pub rows: i64,
    /// Inner dimension.
    pub depth: i64,
    /// Columns of the result.
    pub columns: i64,
    /// Whether the rows of the first factor lie whole in memory, else its columns.
    pub a_by_rows: bool,
    /// The same of the second factor.
    pub b_by_rows: bool,
    /// Whether it is added to what the result held.
    pub onto_itself: bool,
    /// Of the result, and of both factors.
    pub kinds: [Kind; 3],
    /// How it is computed.
    pub products: Products,
}

impl Product {
    pub(super) fn of(
        products: Products,
        out: &Tensor,
        a: &Tensor,
        b: &Tensor,
        added: Added<'_>,
    ) -> Self {
        let (size_a, size_b) = (a.size(), b.size());
        Self {
            rows: size_a[0],
            depth: size_a[1],
            columns: size_b[1],
            a_by_rows: a.stride()[1] == 1,
            b_by_rows: b.stride()[1] == 1,
            onto_itself: matches!(added, Added::Itself),
            kinds: [out, a, b].map(Tensor::kind),
            products,
        }
    }

    /// Multiplications and additions.
    pub fn operations(&self) -> f64 {
        2.0 * self.rows as f64 * self.depth as f64 * self.columns as f64
    }

    /// Seconds of each of `runs` of this product, on numbers of its own.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub fn again(&self, runs: usize) -> Result<Vec<f64>> {
        let matrix = |rows, columns, by_rows, kind| -> Result<Tensor> {
            let random = |size| Tensor::f_rand(size, (Kind::Float, Device::Cpu))?.f_to_kind(kind);
            Ok(match by_rows {
                true => random([rows, columns])?,
                false => random([columns, rows])?.f_tr()?,
            })
        };
        let [of_out, of_a, of_b] = self.kinds;
        let a = matrix(self.rows, self.depth, self.a_by_rows, of_a)?;
        let b = matrix(self.depth, self.columns, self.b_by_rows, of_b)?;
        let out = Tensor::f_zeros([self.rows, self.columns], (of_out, Device::Cpu))?;
        let added = if self.onto_itself { Added::Itself } else { Added::Nothing };
        (0..runs)
            .map(|_| {
                let started = Instant::now();
                self.products.multiply(&out, &a, &b, added)?;
                Ok(started.elapsed().as_secs_f64())
            })
            .collect()
    }
}
