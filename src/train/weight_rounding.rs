//! The grids or codebooks that training rounds the weights to.

use qrnn_ops::cuda;
use tch::{Kind, Tensor};

use crate::Result;
use crate::compress::{TensorPlan, values};
use crate::model::CopyGrid;
use crate::packed::{Encoding, Grid, Quantizer, ScalePer};

/// How one tensor is rounded.
#[derive(Debug)]
pub(super) struct WeightRounding {
    encoding: Encoding,
    /// (1), or (rows): one per row; of kind Float, on the device of the weights.
    pub scales: Tensor,
    /// The integers of a codebook, ascending.
    pub book: Option<Vec<i8>>,
}

impl WeightRounding {
    /// Chooses scales and codebook for the current weights; `None` for a tensor in floating point. On CUDA, weights are
    /// copied to the host only for a codebook, or for so few bits that scales clip.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn fit(plan: &TensorPlan, parameter: &Tensor) -> Result<Option<Self>> {
        let _no_grad = tch::no_grad_guard();
        let Some(encoding) = plan.encoding else { return Ok(None) };
        let is_plain = encoding.grid == Grid::Integers && encoding.covers_the_largest();
        if is_plain && cuda::is_gpu(parameter.device()) {
            let scales = covering_scales(encoding, parameter)?;
            return Ok(Some(Self { encoding, scales, book: None }));
        }
        let Quantizer { scales, book, .. } =
            Quantizer::fit(encoding, &plan.shape, &values(parameter)?);
        let scales = Tensor::f_from_slice(&scales)?.f_to_device(parameter.device())?;
        Ok(Some(Self { encoding, scales, book }))
    }

    /// The grid of a CUDA copy; `None` for a codebook.
    pub fn copy_grid(&self) -> Option<CopyGrid> {
        let (scales, largest) = (self.scales.shallow_clone(), self.encoding.largest());
        (self.encoding.grid == Grid::Integers).then_some(CopyGrid { scales, largest })
    }

    /// A parameter as it is stored.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn round(&self, parameter: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let device = parameter.device();
        match self.copy_grid() {
            Some(grid) if cuda::is_gpu(device) => grid.round(parameter),
            Some(CopyGrid { scales, largest }) => {
                let (lowest, highest) = (-i64::from(largest), i64::from(largest));
                Ok(if scales.numel() == 1 {
                    let scale = scales.f_double_value(&[0])?;
                    parameter.f_fake_quantize_per_tensor_affine(scale, 0, lowest, highest)?
                } else {
                    let zeros = Tensor::f_zeros(scales.size(), (Kind::Int, device))?;
                    parameter
                        .f_fake_quantize_per_channel_affine(&scales, &zeros, 0, lowest, highest)?
                })
            }
            None => self.in_codebook(parameter),
        }
    }

    fn in_codebook(&self, parameter: &Tensor) -> Result<Tensor> {
        let scales = match self.scales.numel() {
            1 => self.scales.shallow_clone(),
            _ => self.scales.f_unsqueeze(1)?,
        };
        let table = self.book.as_deref().map(Quantizer::rounded_to).unwrap_or_default();
        let half = table.len() as i64 / 2;
        let table: Vec<f32> = table.into_iter().map(f32::from).collect();
        let table = Tensor::f_from_slice(&table)?.f_to_device(parameter.device())?;
        let levels = parameter.f_mul(&scales.f_reciprocal()?)?.f_round()?.f_clamp(-half, half)?;
        let index = levels.f_to_kind(Kind::Int64)?.f_add_scalar(half)?.f_view(-1)?;
        Ok(table.f_index_select(0, &index)?.f_view_as(parameter)?.f_mul(&scales)?)
    }
}

/// The scales that cover the largest weight, computed on the device of the weights; the same as those of
/// [`Quantizer::fit`], to the bit.
fn covering_scales(encoding: Encoding, parameter: &Tensor) -> Result<Tensor> {
    let sizes = parameter.f_detach()?.f_abs()?;
    let largest = match encoding.scale_per {
        _ if sizes.numel() == 0 => Tensor::f_zeros([1], (Kind::Float, sizes.device()))?,
        ScalePer::Row if sizes.dim() == 2 => sizes.f_amax([1], false)?,
        _ => sizes.f_max()?.f_view(1)?,
    };
    // By a tensor: CUDA divides by a number less exactly.
    let covering = largest.f_div(&largest.f_full_like(i64::from(encoding.largest()))?)?;
    let is_normal = covering.f_ge(f64::from(f32::MIN_POSITIVE))?.f_logical_and(
        &covering.f_isfinite()?.f_logical_and(&covering.f_reciprocal()?.f_isfinite()?)?,
    )?;
    let scales = if encoding.power_of_two { next_powers_of_two(&covering)? } else { covering };
    Ok(scales.f_where_self(&is_normal, &scales.f_ones_like()?)?)
}

/// The smallest powers of two that are not below these normal numbers.
fn next_powers_of_two(scales: &Tensor) -> Result<Tensor> {
    // Sign and exponent, without the mantissa.
    let exponent = scales.f_view_dtype(Kind::Int)?.f_bitwise_and(-0x80_0000i64)?;
    let floor = exponent.f_view_dtype(Kind::Float)?;
    Ok(floor.f_mul_scalar(2.0)?.f_where_self(&floor.f_lt_tensor(scales)?, &floor)?)
}

#[cfg(test)]
mod tests {
    use qrnn_ops::cuda::host_shim::as_on_a_gpu;
    use tch::Device;

    use super::*;
    use crate::compress::Plan;

    /// Scales of the device and of the host, also for rows of zeros and of tiny weights.
    #[test]
    fn scales_of_the_device_are_those_of_the_host() {
        let weights = Tensor::randn([9, 7], (Kind::Float, Device::Cpu)) * 0.3;
        let _ = weights.narrow(0, 2, 1).zero_();
        let _ = weights.narrow(0, 3, 1).fill_(1e-44);
        let _ = weights.narrow(0, 4, 1).fill_(1e-36);
        let _ = weights.narrow(0, 5, 1).fill_(127.0 / 64.0);
        let shapes =
            ["encoder.weight", "rnns.0.linear.weight"].map(|name| (name.into(), vec![9, 7]));
        for (bits, power_of_two) in [(8, false), (7, true), (4, false), (3, true)] {
            let plan = Plan::new().bits("", bits).power_of_two(power_of_two);
            for plan in plan.resolve(&shapes).unwrap() {
                let fitted = || WeightRounding::fit(&plan, &weights).unwrap().unwrap();
                let (ours, theirs) = (as_on_a_gpu(fitted), fitted());
                assert_eq!(ours.scales, theirs.scales, "{plan:?}");
                assert_eq!(ours.book, theirs.book, "{plan:?}");
                let ours = as_on_a_gpu(|| ours.round(&weights)).unwrap();
                assert_eq!(ours, theirs.round(&weights).unwrap(), "{plan:?}");
            }
        }
    }
}
