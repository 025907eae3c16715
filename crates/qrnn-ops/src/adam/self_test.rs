//! Compares the optimizer of a device with libtorch's on the CPU.

use tch::{Device, Kind, Tensor};

use super::step::adam_step;
use super::update::{AdamUpdate, CopyRounding};
use crate::Result;
use crate::cuda::{Launch, assert_close, test_pattern};
use crate::libtorch::{AdamStep, AdamTensors, fused_adam};

/// The largest integer of the copies' grids: so few bits that a copy which is not rounded differs.
const LARGEST: i32 = 7;

/// Parameter and both moments on the device, and on the CPU what they should become.
struct Case {
    ours: [Tensor; 3],
    gradient: Tensor,
    copy: Option<Tensor>,
    mask: Option<Tensor>,
    scales: Option<Tensor>,
    expected: [Tensor; 3],
    masked_gradient: Tensor,
    steps: Tensor,
}

impl Case {
    /// * `copy`: with the scales of its grid, if it has one.
    fn new(
        gradient: Tensor,
        copy: Option<(Tensor, &[f32])>,
        is_pruned: bool,
        steps: f32,
    ) -> Result<Self> {
        let (size, device) = (gradient.size(), gradient.device());
        let pattern = |n: usize| test_pattern(&size, 0.5 + n as f64);
        let to_device = |tensor: &Tensor| tensor.f_to_device(device);
        gradient.shallow_clone().f_copy_(&pattern(0)?)?;
        let expected = [pattern(1)?, pattern(2)?, pattern(3)?.f_square()?];
        let [parameter, first, second] =
            expected.each_ref().map(|tensor| tensor.f_detach_copy()?.f_to_device(device));
        let mask = if is_pruned { Some(pattern(4)?.f_gt(-1.0)?) } else { None };
        let mask = mask.map(|mask| mask.f_to_kind(Kind::Uint8)).transpose()?;
        let masked_gradient = match &mask {
            Some(mask) => pattern(0)?.f_mul(mask)?,
            None => pattern(0)?,
        };
        let scales = copy.as_ref().map(|(_, scales)| *scales).filter(|scales| !scales.is_empty());
        Ok(Self {
            ours: [parameter?, first?, second?],
            gradient,
            copy: copy.map(|(copy, _)| copy),
            mask: mask.as_ref().map(to_device).transpose()?,
            scales: scales.map(|scales| to_device(&Tensor::f_from_slice(scales)?)).transpose()?,
            expected,
            masked_gradient,
            steps: Tensor::f_from_slice(&[steps])?.f_squeeze()?,
        })
    }

    fn update(&self) -> AdamUpdate<'_> {
        let [parameter, first_moment, second_moment] = &self.ours;
        AdamUpdate {
            parameter,
            gradient: &self.gradient,
            first_moment,
            second_moment,
            copy: self.copy.as_ref(),
            mask: self.mask.as_ref(),
            rounding: self.scales.as_ref().map(|scales| CopyRounding { scales, largest: LARGEST }),
        }
    }

    fn by_libtorch(&self) -> AdamTensors<'_> {
        let [parameter, exp_avg, exp_avg_sq] = &self.expected;
        let (grad, step) = (&self.masked_gradient, &self.steps);
        AdamTensors { parameter, grad, exp_avg, exp_avg_sq, step }
    }

    /// The copy that belongs to the parameter of libtorch.
    fn expected_copy(&self) -> Result<Tensor> {
        let (parameter, largest) = (&self.expected[0], i64::from(LARGEST));
        let Some(scales) = &self.scales else { return Ok(parameter.shallow_clone()) };
        let scales = scales.f_to_device(Device::Cpu)?.f_expand([parameter.size()[0]], false)?;
        let (scales, zeros) = (scales.f_contiguous()?, scales.f_zeros_like()?);
        let zeros = zeros.f_to_kind(Kind::Int)?;
        Ok(parameter.f_fake_quantize_per_channel_affine(&scales, &zeros, 0, -largest, largest)?)
    }
}

/// Compares a small step with clipping, masks and copies with libtorch on the CPU.
///
/// # Errors
/// [`crate::Error::Unavailable`] if they differ.
pub fn self_test(launcher: &dyn Launch, device: Device) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let settings = AdamStep { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 };
    let (clip, steps) = (0.25, 3.0f32);
    let zeros = |size: [i64; 2], kind| Tensor::f_zeros(size, (kind, device));
    let (gradient, copy) = (zeros([37, 16], Kind::Float)?, zeros([37, 16], Kind::BFloat16)?);
    let (weight, bias) = (copy.f_narrow(1, 0, 12)?, copy.f_select(1, 12)?);
    let float_copy = zeros([6, 10], Kind::Float)?;
    let per_row = [0.07, 0.2, 0.05, 0.1, 0.3, 0.15];
    let cases = [
        // A matrix whose bias is a column of its gradient and copy, and the bias.
        Case::new(gradient.f_narrow(1, 0, 12)?, Some((weight, &[0.07])), true, steps)?,
        Case::new(gradient.f_select(1, 12)?, Some((bias, &[])), false, steps)?,
        Case::new(zeros([5, 400], Kind::Float)?, None, true, steps)?,
        Case::new(zeros([6, 10], Kind::Float)?, Some((float_copy, &per_row)), false, steps)?,
    ];
    let updates: Vec<_> = cases.iter().map(Case::update).collect();
    let scalar = |x: f32| Tensor::f_from_slice(&[x])?.f_squeeze()?.f_to_device(device);
    let (loss, healthy) = (scalar(1.0)?, scalar(1.0)?);
    adam_step(launcher, &updates, &scalar(steps)?, (&loss, &healthy), settings, clip)?;

    let squares = cases.iter().map(|case| case.masked_gradient.f_square()?.f_sum(Kind::Double));
    let square: f64 = squares.map(|sum| sum?.f_double_value(&[])).sum::<Result<f64, _>>()?;
    let inverse = Tensor::f_from_slice(&[((square.sqrt() + 1e-6) / clip).max(1.0) as f32])?;
    let tensors: Vec<_> = cases.iter().map(Case::by_libtorch).collect();
    fused_adam(&tensors, settings, Some(&inverse.f_squeeze()?), None)?;
    for case in &cases {
        for (ours, expected) in case.ours.iter().zip(&case.expected) {
            assert_close("step of Adam", ours, expected, 1e-5)?;
        }
        if let Some(copy) = &case.copy {
            assert_close("rounding of the weights", copy, &case.expected_copy()?, 1e-2)?;
        }
    }
    Ok(())
}
