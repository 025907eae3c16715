//! Our implementation of fo-pooling and a loop of tensor operations.

use qrnn::Result;
use qrnn_ops::autograd::{self, Backward, Forward, Function};
use qrnn_ops::fo_pool::{FoPoolOptions, fo_pool};
use tch::{Kind, Tensor};

/// From gates (seq, batch, 3 hidden) and an initial state (batch, hidden) to the output.
pub type Operation = fn(&Tensor, &Tensor) -> Result<Tensor>;

pub fn ours(gates: &Tensor, initial_state: &Tensor) -> Result<Tensor> {
    Ok(fo_pool(gates, initial_state, FoPoolOptions::default())?.output)
}

/// The recurrence as a loop of tensor operations over time.
pub fn tensor_loop(gates: &Tensor, initial_state: &Tensor) -> Result<Tensor> {
    let gates = gates.f_chunk(3, 2)?;
    let (z, f, o) = (gates[0].f_tanh()?, gates[1].f_sigmoid()?, gates[2].f_sigmoid()?);
    let mut c = initial_state.f_to_kind(z.kind())?;
    let mut outputs = vec![];
    for t in 0..f.size()[0] {
        let f = f.f_get(t)?;
        let one_minus_f = f.f_neg()?.f_add_scalar(1.0)?;
        c = f.f_mul(&z.f_get(t)?)?.f_add(&one_minus_f.f_mul(&c)?)?;
        outputs.push(o.f_get(t)?.f_mul(&c)?);
    }
    Ok(Tensor::f_stack(&outputs, 0)?)
}

/// Backpropagates this gradient of `output` to `leaf`.
pub fn backward(output: &Tensor, gradient: &Tensor, leaf: &Tensor) -> Result<()> {
    let loss = autograd::apply(FixedGradient(gradient.shallow_clone()), &[output])?;
    Tensor::f_run_backward(&[&loss[0]], &[leaf], false, false)?;
    Ok(())
}

/// A loss of 0 whose backward returns this gradient, so that only the operation before it is timed.
struct FixedGradient(Tensor);

impl Function for FixedGradient {
    fn forward(&mut self, _: &[&Tensor]) -> qrnn_ops::Result<Forward> {
        Ok(Forward {
            outputs: vec![Tensor::f_zeros([1], (Kind::Float, self.0.device()))?],
            saved: vec![],
        })
    }

    fn backward(&self, _: Backward<'_>) -> qrnn_ops::Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.0.shallow_clone())])
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn both_implementations_agree() {
        let (double, size) = ((Kind::Double, Device::Cpu), [6, 2, 5]);
        let gates = Tensor::randn([6, 2, 15], double).set_requires_grad(true);
        let (state, gradient) = (Tensor::randn([2, 5], double), Tensor::randn(size, double));
        let results = [ours, tensor_loop].map(|operation: Operation| {
            let output = operation(&gates, &state).unwrap();
            let loss =
                autograd::apply(FixedGradient(gradient.shallow_clone()), &[&output]).unwrap();
            let gradients = Tensor::run_backward(&[&loss[0]], &[&gates], false, false);
            (output.detach(), gradients[0].shallow_clone())
        });
        let [(output, gradients), (expected, expected_gradients)] = results;
        assert!(output.allclose(&expected, 1e-12, 1e-12, false));
        assert!(gradients.allclose(&expected_gradients, 1e-12, 1e-12, false));
    }
}
