//! The grid that the CUDA copy of a parameter is rounded to, while a model is compressed.

use qrnn_ops::adam::CopyRounding;
use tch::Tensor;

use crate::Result;

/// The grid of the copy of a parameter: integers from -largest to largest, times a scale.
#[derive(Debug)]
pub(crate) struct CopyGrid {
    /// (1), or (rows): one per row; of kind Float, on the device of the parameter.
    pub scales: Tensor,
    pub largest: i32,
}

impl CopyGrid {
    /// The nearest values of the grid, with ties to the even integer; the same as those of `kernels/adam.cu`, to the bit.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn round(&self, parameter: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let scales = match self.scales.numel() {
            1 => self.scales.shallow_clone(),
            _ => self.scales.f_unsqueeze(1)?,
        };
        let mut rounded = parameter.f_mul(&scales.f_reciprocal()?)?;
        let largest = i64::from(self.largest);
        Ok(rounded.f_round_()?.f_clamp_(-largest, largest)?.f_mul_(&scales)?)
    }

    pub fn shallow_clone(&self) -> Self {
        Self { scales: self.scales.shallow_clone(), largest: self.largest }
    }

    /// The grid of consecutive rows.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if there are fewer rows.
    pub fn of_rows(&self, first: i64, rows: i64) -> Result<Self> {
        if self.scales.numel() == 1 {
            return Ok(self.shallow_clone());
        }
        Ok(Self { scales: self.scales.f_narrow(0, first, rows)?, largest: self.largest })
    }

    /// The grid for the kernel that writes the copy.
    pub fn rounding(&self) -> CopyRounding<'_> {
        CopyRounding { scales: &self.scales, largest: self.largest }
    }
}
