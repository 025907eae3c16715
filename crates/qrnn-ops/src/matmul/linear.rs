//! The linear map of a layer, differentiable.

use tch::{Device, Kind, Tensor};

use super::cublas;
use super::features::{Features, augmented_weight};
use super::precision::Precision;
use super::torch::Added;
use crate::autograd::{self, Backward, Forward, Function};
use crate::{Result, profile};

/// x Wᵀ + b, differentiable in all three.
///
/// * `x`: (…, inputs);
/// * `weight`: (outputs, inputs);
/// * `bias`: (outputs).
///
/// Returns (…, outputs). In bf16 on a GPU its rows begin at multiples of 16 bytes, so that it need not
/// be contiguous.
///
/// # Errors
/// [`crate::Error::Torch`] where shapes do not fit together.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, precision: Precision) -> Result<Tensor> {
    linear_of_features(&Features::of(&[x], None)?, weight, bias, precision, None)
}

/// As [`linear`], of features as their device's products read them.
///
/// * `operand`: of augmented features, what [`augmented_weight`] makes of weight and bias; made anew
///   where it is not given.
///
/// # Errors
/// As [`linear`].
pub fn linear_of_features(
    x: &Features,
    weight: &Tensor,
    bias: &Tensor,
    precision: Precision,
    operand: Option<&Tensor>,
) -> Result<Tensor> {
    let align = cublas::alignment((x.all.kind(), x.all.device()));
    linear_in_rows(x, weight, bias, precision, (operand, align))
}

/// As [`linear_of_features`], with rows of the output that begin at multiples of `align` numbers.
pub fn linear_in_rows(
    x: &Features,
    weight: &Tensor,
    bias: &Tensor,
    precision: Precision,
    (operand, align): (Option<&Tensor>, i64),
) -> Result<Tensor> {
    let operation = Linear {
        precision,
        operand: operand.map(Tensor::shallow_clone),
        kind: weight.kind(),
        size: x.all.size(),
        options: (x.all.kind(), x.all.device()),
        width: x.width,
        augmented: x.are_augmented(),
        align,
    };
    let mut outputs = autograd::apply(operation, &[&x.all, weight, bias])?;
    Ok(outputs.swap_remove(0))
}

struct Linear {
    precision: Precision,
    /// Of augmented features: weight and bias as a factor of their products.
    operand: Option<Tensor>,
    /// Of the weight and its gradient.
    kind: Kind,
    /// The input's, with what lies behind its features.
    size: Vec<i64>,
    options: (Kind, Device),
    /// Features of the input.
    width: i64,
    /// Whether the bias is a column of the operand.
    augmented: bool,
    /// What rows of the output begin at multiples of.
    align: i64,
}

impl Linear {
    /// The sum over all rows, (columns). In bf16 by a product, which is twice as fast as torch's sum.
    fn column_sums(&self, matrix: &Tensor) -> Result<Tensor> {
        let (rows, columns) = matrix.size2()?;
        if matrix.kind() != Kind::BFloat16 {
            let _stage = profile::stage("bias gradients").over([matrix]);
            return Ok(matrix.f_sum_dim_intlist(0, false, self.kind)?);
        }
        let sums = Tensor::f_empty([1, columns], (self.kind, matrix.device()))?;
        let ones = Tensor::f_ones([1, rows], (matrix.kind(), matrix.device()))?;
        self.precision.multiply(&sums, &ones, matrix, Added::Nothing)?;
        Ok(sums.f_squeeze_dim(0)?)
    }

    /// What the rows of the input, of this kind, are multiplied by: (outputs, inputs); and what is
    /// added.
    fn factor<'a>(
        &self,
        kind: Kind,
        weight: &Tensor,
        bias: &'a Tensor,
    ) -> Result<(Tensor, Added<'a>)> {
        if !self.augmented {
            return Ok((self.precision.operand(weight)?, Added::Bias(bias)));
        }
        let operand = match &self.operand {
            Some(operand) => operand.shallow_clone(),
            None => augmented_weight(&[(weight, bias)], kind)?,
        };
        Ok((operand, Added::Nothing))
    }
}

/// All but the last dimension as one.
fn flat(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_reshape([-1, tensor.size().last().copied().unwrap_or(1)])?)
}

impl Function for Linear {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let [x, weight, bias] = inputs else { unreachable!("three inputs were given") };
        let mut size = self.size.clone();
        let _ = size.pop();
        size.push(weight.size()[0]);
        let x = self.precision.operand(&flat(x)?)?;
        let (factor, added) = self.factor(x.kind(), weight, bias)?;
        let out = cublas::rows(&size, self.options, self.align)?;
        let rows = out.f_view([-1, weight.size()[0]])?;
        self.precision.multiply(&rows, &x, &factor.f_tr()?, added)?;
        Ok(Forward { outputs: vec![out], saved: vec![x, factor] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [x, factor] = call.saved else { unreachable!("two tensors were saved") };
        let Some(grad) = &call.grads[0] else { return Ok(vec![None, None, None]) };
        let grad = self.precision.operand(&flat(grad)?)?;
        let mut grads = vec![None, None, None];
        if call.needed[0] {
            let out = Tensor::f_empty(&self.size[..], self.options)?;
            let of_features = flat(&out)?.f_narrow(1, 0, self.width)?;
            let weight = factor.f_narrow(1, 0, self.width)?;
            self.precision.multiply(&of_features, &grad, &weight, Added::Nothing)?;
            grads[0] = Some(out);
        }
        if call.needed[1] || (self.augmented && call.needed[2]) {
            let out = Tensor::f_empty(factor.size(), (self.kind, factor.device()))?;
            self.precision.multiply(&out, &grad.f_tr()?, x, Added::Nothing)?;
            if self.augmented {
                grads[2] = Some(out.f_select(1, self.width)?);
            }
            grads[1] = Some(out.f_narrow(1, 0, self.width)?);
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
        let (plain, plain_grads) = run(x.linear(&weight, Some(&bias)));
        let features = Features::of(&[&x], None).unwrap();
        let map = |precision, align| {
            linear_in_rows(&features, &weight, &bias, precision, (None, align)).unwrap()
        };
        let all = [(Precision::Torch, 1e-5), (Precision::Single, 1e-5), (Precision::Bf16, 0.1)];
        for ((precision, tolerance), align) in all.into_iter().flat_map(|p| [(p, 1), (p, 8)]) {
            let (out, grads) = run(map(precision, align));
            let row = if align == 1 { 36 } else { 40 };
            assert_eq!((out.size(), out.stride()), (vec![5, 3, 36], vec![3 * row, row, 1]));
            assert!((&out - &plain).abs().max().double_value(&[]) < tolerance);
            for (a, b) in grads.iter().zip(&plain_grads) {
                let difference = (a - b).norm() / b.norm();
                assert!(difference.double_value(&[]) < tolerance, "{precision:?}: {difference:?}");
            }
        }
    }

    /// The bias as a column of the weight, in value and gradient, with the operand given and made.
    #[test]
    fn augmented_rows_give_the_same_map() {
        tch::manual_seed(5);
        let leaf = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let [x, weight, bias] =
            [leaf(&[5, 3, 21]), leaf(&[36, 21]), leaf(&[36])].map(|t| t.set_requires_grad(true));
        let run = |out: &Tensor| {
            let square = out.square().mean(Kind::Float);
            Tensor::run_backward(&[&square], &[&x, &weight, &bias], false, false)
        };
        let plain = x.linear(&weight, Some(&bias));
        let plain_grads = run(&plain);
        for (precision, tolerance) in [(Precision::Single, 1e-5), (Precision::Bf16, 2e-2)] {
            as_on_a_gpu(|| {
                let kind = precision.activation_kind((Kind::Float, Device::Cpu));
                let whole = augmented_weight(&[(&weight, &bias)], kind).unwrap();
                for operand in [None, Some(&whole)] {
                    let features = Features::of(&[&x.to_kind(kind)], None).unwrap();
                    let out = linear_of_features(&features, &weight, &bias, precision, operand);
                    let out = out.unwrap();
                    assert_eq!((out.size(), out.kind()), (vec![5, 3, 36], kind));
                    let off =
                        |a: &Tensor, b: &Tensor| ((a - b).norm() / b.norm()).double_value(&[]);
                    assert!(off(&out, &plain) < tolerance, "{precision:?}");
                    for (a, b) in run(&out).iter().zip(&plain_grads) {
                        assert_eq!(a.kind(), Kind::Float);
                        assert!(off(a, b) < tolerance, "{precision:?}: {}", off(a, b));
                    }
                }
            });
        }
    }

    /// Widths that are and are not multiples of 16 bytes, in value and gradient.
    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_gpu_a_map_of_any_width_is_that_of_the_cpu() {
        let device = crate::device::cuda().unwrap();
        for (inputs, outputs) in [(600, 900), (1800, 900), (21, 37), (1, 3), (64, 64)] {
            let exact = |size: &[i64]| Tensor::randn(size, (Kind::Double, Device::Cpu));
            let given = [exact(&[7, 4, inputs]), exact(&[outputs, inputs]), exact(&[outputs])];
            let factor = exact(&[7, 4, outputs]);
            let run = |map: &dyn Fn(&[Tensor]) -> Tensor, device, kinds: [Kind; 3]| {
                let leaves: Vec<Tensor> = given
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
            let theirs = run(&|t| t[0].linear(&t[1], Some(&t[2])), Device::Cpu, double);
            for (precision, kind, bound) in [
                (Precision::Single, Kind::Float, 1e-5),
                (Precision::Tf32, Kind::Float, 5e-3),
                (Precision::Bf16, Kind::BFloat16, 2e-2),
            ] {
                let kinds = [kind, Kind::Float, Kind::Float];
                let map = |t: &[Tensor]| linear(&t[0], &t[1], &t[2], precision).unwrap();
                let ours = run(&map, device, kinds);
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    let off = ((ours - theirs).norm() / theirs.norm()).double_value(&[]);
                    assert!(off < bound, "{inputs} to {outputs}, {precision:?}: {off}");
                }
            }
        }
    }
}
