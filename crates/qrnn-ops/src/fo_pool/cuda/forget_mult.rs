//! The forget-mult on a GPU: launches `kernels/forget_mult.cu`.

use std::sync::Arc;

use tch::{Kind, Tensor};

use super::shape::{Shape, at, contiguous};
use crate::Result;
use crate::autograd::{self, Backward, Forward, Function};
use crate::cuda::headers::COLUMN;
use crate::cuda::{Kernel, Launch, Source};

/// The kernels of the forget-mult.
pub(crate) static FORGET_MULT: Source = Source {
    name: "forget_mult.cu",
    text: include_str!("../../../kernels/forget_mult.cu"),
    headers: &[COLUMN],
};

/// [`crate::fo_pool::forget_mult`] on a GPU, with checked arguments: f and x of kind Float or BFloat16, a
/// Float state.
pub(in crate::fo_pool) fn forget_mult(
    launcher: Arc<dyn Launch>,
    f: &Tensor,
    x: &Tensor,
    initial_state: &Tensor,
) -> Result<Tensor> {
    let mut outputs = autograd::apply(ForgetMult { launcher }, &[f, x, initial_state])?.into_iter();
    outputs.next().ok_or_else(|| unreachable!("ForgetMult::forward returns one output"))
}

struct ForgetMult {
    launcher: Arc<dyn Launch>,
}

impl ForgetMult {
    fn kernel(kind: Kind, names: [&'static str; 2]) -> Kernel {
        Kernel { source: &FORGET_MULT, name: names[usize::from(kind == Kind::BFloat16)] }
    }
}

impl Function for ForgetMult {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let [f, x, initial_state] = [0, 1, 2].map(|i| inputs[i].f_contiguous());
        let (f, x, initial_state) = (f?, x?, initial_state?);
        let (seq, batch, hidden) = f.size3()?;
        let shape = Shape::new(seq, batch, hidden)?;
        let out = f.f_empty_like()?;
        let kernel =
            Self::kernel(f.kind(), ["forget_mult_forward_f32", "forget_mult_forward_bf16"]);
        let [seq, batch, hidden] = shape.arguments();
        let arguments = &mut [at(&f), at(&x), at(&initial_state), at(&out), seq, batch, hidden];
        // SAFETY: the parameters of forget_mult_forward_* in order; all contiguous.
        unsafe { self.launcher.launch(kernel, shape.geometry()?, arguments)? };
        let saved = vec![f, x, initial_state, out.shallow_clone()];
        Ok(Forward { outputs: vec![out], saved })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [f, x, initial_state, out] = call.saved else {
            unreachable!("four tensors were saved")
        };
        let Some(grad) = contiguous(call.grads[0].as_ref())? else {
            return Ok(vec![None, None, None]);
        };
        let (seq, batch, hidden) = f.size3()?;
        let shape = Shape::new(seq, batch, hidden)?;
        let (grad_f, grad_x) = (f.f_empty_like()?, x.f_empty_like()?);
        let grad_state = initial_state.f_empty_like()?;
        let kernel =
            Self::kernel(f.kind(), ["forget_mult_backward_f32", "forget_mult_backward_bf16"]);
        let [seq, batch, hidden] = shape.arguments();
        let (into_f, into_x, into_state) = (at(&grad_f), at(&grad_x), at(&grad_state));
        let arguments = &mut [
            at(f),
            at(x),
            at(initial_state),
            at(out),
            at(&grad),
            into_f,
            into_x,
            into_state,
            seq,
            batch,
            hidden,
        ];
        // SAFETY: the parameters of forget_mult_backward_* in order; all contiguous.
        unsafe { self.launcher.launch(kernel, shape.geometry()?, arguments)? };
        Ok(vec![Some(grad_f), Some(grad_x), Some(grad_state)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{
        BackEnd, CPU, Checked, Shape, cases, leaf, random, relative_error, shapes, tolerance,
    };
    use super::super::touched::check_once_in;
    use super::*;
    use crate::cuda::host_shim::{Access, HostShim};
    use crate::fo_pool as pool;

    fn run_on(back_end: BackEnd, f: &Tensor, x: &Tensor, initial_state: &Tensor) -> Tensor {
        let h = match back_end {
            BackEnd::HostShim => forget_mult(back_end.launcher(), f, x, initial_state),
            BackEnd::Cuda => pool::forget_mult(f, x, Some(initial_state)),
        };
        h.unwrap()
    }

    fn check_forget_mult(back_end: BackEnd, (seq, batch, hidden): Shape, kind: Kind) -> Checked {
        let f = random(&[seq, batch, hidden], Kind::Float).sigmoid().to_kind(kind);
        let (x, weights) =
            (random(&[seq, batch, hidden], kind), random(&[seq, batch, hidden], kind));
        let initial_state = random(&[batch, hidden], Kind::Float);
        let run = |back_end: Option<BackEnd>, kind: Kind| {
            let (device, state_kind) = match back_end {
                Some(back_end) => (back_end.device(), Kind::Float),
                None => (CPU, kind),
            };
            let leaves = [
                leaf(&f, device, kind),
                leaf(&x, device, kind),
                leaf(&initial_state, device, state_kind),
            ];
            let [f, x, initial_state] = &leaves;
            let h = match back_end {
                Some(back_end) => run_on(back_end, f, x, initial_state),
                None => pool::forget_mult(f, x, Some(initial_state)).unwrap(),
            };
            // Rows of (batch, hidden) elements that the last launch read and wrote, each once.
            let check_accesses = |read: i64, written: i64| {
                let shim = HostShim::get().unwrap();
                let counts =
                    (shim.address_count(Access::Read), shim.address_count(Access::Written));
                let row = batch * hidden;
                assert_eq!(counts, ((read * row) as usize, (written * row) as usize));
                for input in [f, x] {
                    check_once_in(input, Access::Read).unwrap();
                }
            };
            if back_end == Some(BackEnd::HostShim) {
                check_accesses(2 * seq + 1, seq);
            }
            let weights = weights.to_device(device).to_kind(h.kind());
            (&h * weights).to_kind(Kind::Double).sum(None).backward();
            if back_end == Some(BackEnd::HostShim) {
                // f, x, d h, the initial state, and h except its last time step.
                check_accesses(3 * seq + 1 + seq - 1, 2 * seq + 1);
            }
            let mut all = vec![h.detach()];
            all.extend(leaves.iter().map(|leaf| leaf.grad()));
            all.into_iter().map(|t| t.to_device(CPU).to_kind(Kind::Double)).collect::<Vec<_>>()
        };
        let (ours, reference) = (run(Some(back_end), kind), run(None, Kind::Double));
        // The backward reads the rounded h, so the error of d f is a rounding of |h| · |d h|.
        let tolerance_of = |name: &str| match (kind, name) {
            (Kind::BFloat16, "d f") => (0.05, 1.1 / 256.0),
            _ => tolerance(kind),
        };
        for (name, (a, b)) in
            ["h", "d f", "d x", "d initial_state"].iter().zip(ours.iter().zip(&reference))
        {
            let error = relative_error(a, b, tolerance_of(name));
            prop_assert!(error <= 1.0, "{name}: {error}");
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]

        #[test]
        fn the_forget_mult_kernels_equal_the_cpu(shape in shapes(), case in cases()) {
            check_forget_mult(BackEnd::HostShim, shape, case.kind)?;
        }

        #[test]
        #[ignore = "needs a GPU"]
        fn on_a_gpu_the_forget_mult_kernels_equal_the_cpu(shape in shapes(), case in cases()) {
            check_forget_mult(BackEnd::Cuda, shape, case.kind)?;
        }
    }

    #[test]
    fn bfloat16_is_rounded_as_torch_does() {
        // Every exponent, both ties and their neighbors, and NaN.
        let mut values =
            vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 1e-40];
        for exponent in 1..255u32 {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x1_7fff, 0x1_8000, 0x1_8001] {
                values.push(f32::from_bits(exponent << 23 | low));
                values.push(-f32::from_bits(exponent << 23 | low));
            }
        }
        let n = values.len() as i64;
        let expected = Tensor::from_slice(&values).to_kind(Kind::BFloat16);
        // With f = 0, h_1 is the initial state (Float), which the forward rounds.
        let initial_state = Tensor::from_slice(&values).view([1, n]);
        let zeros = Tensor::zeros([1, 1, n], (Kind::BFloat16, CPU));
        let out =
            forget_mult(HostShim::get().unwrap(), &zeros, &zeros, &initial_state).unwrap().view(-1);
        for (i, value) in values.iter().enumerate() {
            let (ours, torch) = (out.double_value(&[i as i64]), expected.double_value(&[i as i64]));
            // 0 · 0 + 1 · -0 is 0.
            let same = ours == torch || (ours.is_nan() && torch.is_nan());
            assert!(same, "{value:e}: {ours:e} and {torch:e}");
        }
    }
}
