//! Differentiable linear maps.

use tch::{Device, Kind, Tensor};

use super::features::{Features, augmented_weight};
use super::precision::Precision;
use super::torch::Addend;
use crate::Result;
use crate::autograd::{self, Backward, Forward, Function};
use crate::profile::{self, Stage};

/// x Wᵀ + b, differentiable in all arguments (`torch.nn.functional.linear`).
///
/// * `x`: (…, inputs);
/// * `weight`: (outputs, inputs);
/// * `bias`: (outputs).
///
/// Returns (…, outputs), which on a GPU may be a view of padded rows.
///
/// # Errors
/// [`crate::Error::Torch`] if shapes do not match.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, precision: Precision) -> Result<Tensor> {
    linear_of_features(&Features::of(&[x], None)?, weight, bias, precision, None)?.view()
}

/// [`linear`] of [`Features`].
///
/// * `operand`: for augmented features, the [`augmented_weight`] of weight and bias; `None` computes it.
///
/// # Errors
/// As [`linear`].
pub fn linear_of_features(
    x: &Features,
    weight: &Tensor,
    bias: &Tensor,
    precision: Precision,
    operand: Option<&Tensor>,
) -> Result<Features> {
    let operation = Linear {
        precision,
        operand: operand.map(Tensor::shallow_clone),
        kind: weight.kind(),
        size: x.all.size(),
        options: (x.all.kind(), x.all.device()),
        inputs: x.width,
        outputs: weight.size()[0],
        augmented: x.are_padded(),
    };
    let mut outputs = autograd::apply(operation, &[&x.all, weight, bias])?;
    Ok(Features { all: outputs.swap_remove(0), width: weight.size()[0] })
}

struct Linear {
    precision: Precision,
    /// For augmented features: the [`augmented_weight`] of weight and bias.
    operand: Option<Tensor>,
    /// Kind of the weight and its gradient.
    kind: Kind,
    /// Size of the input, with its padding.
    size: Vec<i64>,
    /// Kind and device of the input.
    options: (Kind, Device),
    /// Features of the input, without their padding.
    inputs: i64,
    /// Rows of the weight.
    outputs: i64,
    /// Whether the bias is a column of the operand.
    augmented: bool,
}

impl Linear {
    /// The sum over all rows, (columns). In bf16 as a product, which is twice as fast as torch's sum.
    fn column_sums(&self, matrix: &Tensor) -> Result<Tensor> {
        let (rows, columns) = matrix.size2()?;
        if matrix.kind() != Kind::BFloat16 {
            let _span = profile::span(Stage::BiasGradients);
            return Ok(matrix.f_sum_dim_intlist(0, false, self.kind)?);
        }
        let sums = Tensor::f_empty([1, columns], (self.kind, matrix.device()))?;
        let ones = Tensor::f_ones([1, rows], (matrix.kind(), matrix.device()))?;
        self.precision.multiply(&sums, &ones, matrix, Addend::Nothing)?;
        Ok(sums.f_squeeze_dim(0)?)
    }

    /// The operand (outputs, inputs), both with their padding, for inputs of this kind, and the addend of the
    /// product.
    fn operand<'a>(
        &self,
        kind: Kind,
        weight: &Tensor,
        bias: &'a Tensor,
    ) -> Result<(Tensor, Addend<'a>)> {
        if !self.augmented {
            return Ok((self.precision.operand(weight)?, Addend::Bias(bias)));
        }
        let operand = match &self.operand {
            Some(operand) => operand.shallow_clone(),
            None => augmented_weight(weight, bias, kind)?,
        };
        Ok((operand, Addend::Nothing))
    }
}

/// Flattens all dimensions but the last.
fn flat(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_reshape([-1, tensor.size().last().copied().unwrap_or(1)])?)
}

impl Function for Linear {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let [x, weight, bias] = inputs else { unreachable!("the operation has three inputs") };
        let x = self.precision.operand(&flat(x)?)?;
        let (operand, addend) = self.operand(x.kind(), weight, bias)?;
        let mut size = self.size.clone();
        if let Some(row) = size.last_mut() {
            *row = operand.size()[0];
        }
        let out = Tensor::f_empty(&size[..], self.options)?;
        self.precision.multiply(&flat(&out)?, &x, &operand.f_tr()?, addend)?;
        Ok(Forward { outputs: vec![out], saved: vec![x, operand] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [x, operand] = call.saved else { unreachable!("two tensors were saved") };
        let Some(grad) = &call.grads[0] else { return Ok(vec![None, None, None]) };
        let grad = self.precision.operand(&flat(grad)?)?;
        let mut grads = vec![None, None, None];
        if call.needed[0] {
            let out = Tensor::f_empty(&self.size[..], self.options)?;
            self.precision.multiply(&flat(&out)?, &grad, operand, Addend::Nothing)?;
            grads[0] = Some(out);
        }
        if call.needed[1] || (self.augmented && call.needed[2]) {
            let out = Tensor::f_empty(operand.size(), (self.kind, operand.device()))?;
            self.precision.multiply(&out, &grad.f_tr()?, x, Addend::Nothing)?;
            let out = out.f_narrow(0, 0, self.outputs)?;
            if self.augmented {
                grads[2] = Some(out.f_select(1, self.inputs)?);
            }
            grads[1] = Some(out.f_narrow(1, 0, self.inputs)?);
        }
        if call.needed[2] && !self.augmented {
            grads[2] = Some(self.column_sums(&grad)?);
        }
        Ok(grads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::host_shim::as_on_a_gpu;

    #[test]
    fn equals_torch_in_value_and_gradient() {
        tch::manual_seed(2);
        let leaf =
            |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let (x, weight, bias) = (leaf(&[5, 3, 20]), leaf(&[36, 20]), leaf(&[36]));
        let run = |out: Tensor| {
            let square = out.square().mean(Kind::Float);
            let grads = Tensor::run_backward(&[&square], &[&x, &weight, &bias], false, false);
            (out, grads)
        };
        let (expected, expected_grads) = run(x.linear(&weight, Some(&bias)));
        for (precision, tolerance) in
            [(Precision::Torch, 1e-5), (Precision::Single, 1e-5), (Precision::Bf16, 0.1)]
        {
            let (out, grads) = run(linear(&x, &weight, &bias, precision).unwrap());
            assert!(out.is_contiguous());
            assert_eq!(out.size(), [5, 3, 36]);
            assert!((&out - &expected).abs().max().double_value(&[]) < tolerance);
            for (a, b) in grads.iter().zip(&expected_grads) {
                let difference = (a - b).norm() / b.norm();
                assert!(difference.double_value(&[]) < tolerance, "{precision:?}: {difference:?}");
            }
        }
    }

    /// The bias as a column of the weight, in value and gradient, with and without an operand.
    #[test]
    fn augmented_rows_do_not_change_a_map() {
        tch::manual_seed(5);
        let leaf = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let [x, weight, bias] =
            [leaf(&[5, 3, 21]), leaf(&[36, 21]), leaf(&[36])].map(|t| t.set_requires_grad(true));
        let run = |out: &Tensor| {
            let square = out.square().mean(Kind::Float);
            Tensor::run_backward(&[&square], &[&x, &weight, &bias], false, false)
        };
        let expected = x.linear(&weight, Some(&bias));
        let expected_grads = run(&expected);
        for (precision, tolerance) in [(Precision::Single, 1e-5), (Precision::Bf16, 2e-2)] {
            as_on_a_gpu(|| {
                let kind = precision.activation_kind((Kind::Float, Device::Cpu));
                let whole = augmented_weight(&weight, &bias, kind).unwrap();
                for operand in [None, Some(&whole)] {
                    let features = Features::of(&[&x.to_kind(kind)], None).unwrap();
                    let out = linear_of_features(&features, &weight, &bias, precision, operand);
                    let out = out.unwrap();
                    assert_eq!((out.all.size(), out.all.kind()), (vec![5, 3, 40], kind));
                    let out = out.view().unwrap();
                    let error =
                        |a: &Tensor, b: &Tensor| ((a - b).norm() / b.norm()).double_value(&[]);
                    assert!(error(&out, &expected) < tolerance, "{precision:?}");
                    for (a, b) in run(&out).iter().zip(&expected_grads) {
                        assert_eq!(a.kind(), Kind::Float);
                        assert!(error(a, b) < tolerance, "{precision:?}: {}", error(a, b));
                    }
                }
            });
        }
    }

    /// Rows that are and are not aligned to 16 bytes, in value and gradient.
    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_linear_maps_of_any_width_equal_the_cpu() {
        let device = crate::device::cuda().unwrap();
        for (inputs, outputs) in [(600, 900), (1800, 900), (21, 37), (1, 3), (64, 64), (24, 4096)] {
            let exact = |size: &[i64]| Tensor::randn(size, (Kind::Double, Device::Cpu));
            let arguments = [exact(&[7, 4, inputs]), exact(&[outputs, inputs]), exact(&[outputs])];
            let factor = exact(&[7, 4, outputs]);
            let run = |map: &dyn Fn(&[Tensor]) -> Tensor, device, kinds: [Kind; 3]| {
                let leaves: Vec<Tensor> = arguments
                    .iter()
                    .zip(kinds)
                    .map(|(t, kind)| t.to_device(device).to_kind(kind).set_requires_grad(true))
                    .collect();
                let out = map(&leaves);
                let score = (&out * factor.to_device(device).to_kind(out.kind())).sum(Kind::Float);
                let mut all = Tensor::run_backward(&[&score], &leaves, false, false);
                all.push(out);
                all.iter()
                    .map(|t| t.to_device(Device::Cpu).to_kind(Kind::Double))
                    .collect::<Vec<_>>()
            };
            let double = [Kind::Double; 3];
            let expected = run(&|t| t[0].linear(&t[1], Some(&t[2])), Device::Cpu, double);
            for (precision, kind, bound) in [
                (Precision::Single, Kind::Float, 1e-5),
                (Precision::Tf32, Kind::Float, 5e-3),
                (Precision::Bf16, Kind::BFloat16, 2e-2),
            ] {
                let kinds = [kind, Kind::Float, Kind::Float];
                let map = |t: &[Tensor]| linear(&t[0], &t[1], &t[2], precision).unwrap();
                let ours = run(&map, device, kinds);
                for (ours, expected) in ours.iter().zip(&expected) {
                    let error = ((ours - expected).norm() / expected.norm()).double_value(&[]);
                    assert!(error < bound, "{inputs} to {outputs}, {precision:?}: {error}");
                }
            }
        }
    }
}
