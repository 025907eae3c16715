//! A differentiable product without a bias, whose result is the input of a further product.

use tch::{Device, Kind, Tensor};

use super::features::{Features, augmented_row};
use super::precision::Precision;
use super::torch::Addend;
use crate::Result;
use crate::autograd::{self, Backward, Forward, Function};

/// x M, differentiable in both: the projection of features to another number of features.
///
/// * `x`: (…, inputs);
/// * `matrix`: (inputs, outputs);
/// * `operand`: for augmented features, the [`projection_operand`] of the matrix; `None` computes it.
///
/// Returns (…, outputs). On a GPU it is augmented like `x`: the operand also copies the one that follows the
/// features.
///
/// # Errors
/// [`crate::Error::Torch`] if shapes do not match.
pub fn project(
    x: &Features,
    matrix: &Tensor,
    precision: Precision,
    operand: Option<&Tensor>,
) -> Result<Features> {
    let outputs = matrix.size2()?.1;
    let operation = Project {
        precision,
        operand: operand.map(Tensor::shallow_clone),
        kind: matrix.kind(),
        size: x.all.size(),
        options: (x.all.kind(), x.all.device()),
        inputs: x.width,
        outputs,
        augmented: x.are_padded(),
    };
    let mut all = autograd::apply(operation, &[&x.all, matrix])?;
    Ok(Features { all: all.swap_remove(0), width: outputs })
}

/// A matrix as an operand of products with augmented rows, whose results are augmented too.
///
/// ```text
/// [x | 1 | 0 …] [M 0 0]   [x M | 1 | 0 …]
///               [0 1 0] =
///               [0 0 0]
/// ```
///
/// * `matrix`: (inputs, outputs);
/// * `kind`: of the result.
///
/// # Errors
/// [`crate::Error::Torch`] if memory runs out.
pub fn projection_operand(matrix: &Tensor, kind: Kind) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let (inputs, outputs) = matrix.size2()?;
    let size = [augmented_row(inputs), augmented_row(outputs)];
    let operand = Tensor::f_zeros(size, (kind, matrix.device()))?;
    let _ = operand.f_narrow(0, inputs, 1)?.f_narrow(1, outputs, 1)?.f_fill_(1.0)?;
    write_projection(matrix, &operand)?;
    Ok(operand)
}

/// Writes a matrix into a result of [`projection_operand`].
///
/// # Errors
/// [`crate::Error::Torch`] if shapes do not match.
pub fn write_projection(matrix: &Tensor, operand: &Tensor) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    Ok(matrix_of(operand, matrix.size2()?)?.f_copy_(matrix)?)
}

/// The matrix in a result of [`projection_operand`].
///
/// # Errors
/// [`crate::Error::Torch`] if the sizes exceed the operand's.
pub fn matrix_of(operand: &Tensor, (inputs, outputs): (i64, i64)) -> Result<Tensor> {
    Ok(operand.f_narrow(0, 0, inputs)?.f_narrow(1, 0, outputs)?)
}

struct Project {
    precision: Precision,
    /// For augmented features: the [`projection_operand`] of the matrix.
    operand: Option<Tensor>,
    /// Kind of the matrix and its gradient.
    kind: Kind,
    /// Size of the input, with its padding.
    size: Vec<i64>,
    /// Kind and device of the input.
    options: (Kind, Device),
    /// Features of the input and of the output, without their padding.
    inputs: i64,
    outputs: i64,
    augmented: bool,
}

/// Flattens all dimensions but the last.
fn flat(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_reshape([-1, tensor.size().last().copied().unwrap_or(1)])?)
}

impl Function for Project {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let [x, matrix] = inputs else { unreachable!("the operation has two inputs") };
        let x = self.precision.operand(&flat(x)?)?;
        let operand = match &self.operand {
            _ if !self.augmented => self.precision.operand(matrix)?,
            Some(operand) => operand.shallow_clone(),
            None => projection_operand(matrix, x.kind())?,
        };
        let mut size = self.size.clone();
        if let Some(row) = size.last_mut() {
            *row = operand.size()[1];
        }
        let out = Tensor::f_empty(&size[..], self.options)?;
        self.precision.multiply(&flat(&out)?, &x, &operand, Addend::Nothing)?;
        Ok(Forward { outputs: vec![out], saved: vec![x, operand] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [x, operand] = call.saved else { unreachable!("two tensors were saved") };
        let Some(grad) = &call.grads[0] else { return Ok(vec![None, None]) };
        let grad = self.precision.operand(&flat(grad)?)?;
        let mut grads = vec![None, None];
        if call.needed[0] {
            let out = Tensor::f_empty(&self.size[..], self.options)?;
            self.precision.multiply(&flat(&out)?, &grad, &operand.f_tr()?, Addend::Nothing)?;
            grads[0] = Some(out);
        }
        if call.needed[1] {
            let out = Tensor::f_empty(operand.size(), (self.kind, operand.device()))?;
            self.precision.multiply(&out, &x.f_tr()?, &grad, Addend::Nothing)?;
            grads[1] = Some(matrix_of(&out, (self.inputs, self.outputs))?);
        }
        Ok(grads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::host_shim::as_on_a_gpu;

    /// On the CPU and with augmented rows, with and without an operand.
    #[test]
    fn equals_torch_in_value_and_gradient() {
        tch::manual_seed(2);
        let leaf =
            |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let (x, matrix) = (leaf(&[5, 3, 20]), leaf(&[20, 7]));
        let run = |out: &Tensor| {
            let square = out.square().mean(Kind::Float);
            Tensor::run_backward(&[&square], &[&x, &matrix], false, false)
        };
        let expected = x.matmul(&matrix);
        let expected_grads = run(&expected);
        let check = |out: Tensor, tolerance: f64| {
            let error = |a: &Tensor, b: &Tensor| ((a - b).norm() / b.norm()).double_value(&[]);
            assert_eq!(out.size(), [5, 3, 7]);
            assert!(error(&out, &expected) < tolerance);
            for (a, b) in run(&out).iter().zip(&expected_grads) {
                assert_eq!((a.kind(), a.size()), (Kind::Float, b.size()));
                assert!(error(a, b) < tolerance, "{}", error(a, b));
            }
        };
        for (precision, tolerance) in
            [(Precision::Torch, 1e-5), (Precision::Single, 1e-5), (Precision::Bf16, 2e-2)]
        {
            let kind = precision.activation_kind((Kind::Float, Device::Cpu));
            let features = Features::of(&[&x.to_kind(kind)], None).unwrap();
            check(project(&features, &matrix, precision, None).unwrap().all, tolerance);
            as_on_a_gpu(|| {
                let kind = precision.activation_kind((Kind::Float, Device::Cpu));
                let features = Features::of(&[&x.to_kind(kind)], None).unwrap();
                let whole = projection_operand(&matrix, kind).unwrap();
                for operand in [None, Some(&whole)] {
                    let out = project(&features, &matrix, precision, operand).unwrap();
                    assert_eq!((out.all.size(), out.width), (vec![5, 3, 8], 7));
                    assert!(out.all.select(2, 7).allclose(
                        &out.all.select(2, 7).ones_like(),
                        0.0,
                        0.0,
                        false
                    ));
                    check(out.view().unwrap(), tolerance);
                }
            });
        }
    }
}
