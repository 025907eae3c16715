//! The forget-mult alone on a card.

use std::sync::Arc;

use tch::{Kind, Tensor};

use super::shape::{Shape, at, contiguous};
use crate::Result;
use crate::autograd::{self, Backward, Forward, Function};
use crate::cuda::headers::COLUMN;
use crate::cuda::{Kernel, Launch, Source};

/// The forget-mult alone.
pub(crate) static FORGET_MULT: Source = Source {
    name: "forget_mult.cu",
    text: include_str!("../../../kernels/forget_mult.cu"),
    headers: &[COLUMN],
};

/// [`crate::fo_pool::forget_mult`] on a card: f and x of kind Float or BFloat16, before of kind Float, shapes
/// and devices checked.
pub(in crate::fo_pool) fn forget_mult(
    launcher: Arc<dyn Launch>,
    f: &Tensor,
    x: &Tensor,
    before: &Tensor,
) -> Result<Tensor> {
    let mut outputs = autograd::apply(ForgetMult { launcher }, &[f, x, before])?.into_iter();
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
        let [f, x, before] = [0, 1, 2].map(|i| inputs[i].f_contiguous());
        let (f, x, before) = (f?, x?, before?);
        let (seq, batch, hidden) = f.size3()?;
        let shape = Shape::new(seq, batch, hidden)?;
        let out = f.f_empty_like()?;
        let kernel =
            Self::kernel(f.kind(), ["forget_mult_forward_f32", "forget_mult_forward_bf16"]);
        let [seq, batch, hidden] = shape.arguments();
        let arguments = &mut [at(&f), at(&x), at(&before), at(&out), seq, batch, hidden];
        // SAFETY: the parameters of forget_mult_forward_* in order; all contiguous.
        unsafe { self.launcher.launch(kernel, shape.geometry()?, arguments)? };
        let saved = vec![f, x, before, out.shallow_clone()];
        Ok(Forward { outputs: vec![out], saved })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [f, x, before, out] = call.saved else { unreachable!("four tensors were saved") };
        let Some(grad) = contiguous(call.grads[0].as_ref())? else {
            return Ok(vec![None, None, None]);
        };
        let (seq, batch, hidden) = f.size3()?;
        let shape = Shape::new(seq, batch, hidden)?;
        let (grad_f, grad_x) = (f.f_empty_like()?, x.f_empty_like()?);
        let grad_before = before.f_empty_like()?;
        let kernel =
            Self::kernel(f.kind(), ["forget_mult_backward_f32", "forget_mult_backward_bf16"]);
        let [seq, batch, hidden] = shape.arguments();
        let (into_f, into_x, into_before) = (at(&grad_f), at(&grad_x), at(&grad_before));
        let arguments = &mut [
            at(f),
            at(x),
            at(before),
            at(out),
            at(&grad),
            into_f,
            into_x,
            into_before,
            seq,
            batch,
            hidden,
        ];
        // SAFETY: the parameters of forget_mult_backward_* in order; all contiguous.
        unsafe { self.launcher.launch(kernel, shape.geometry()?, arguments)? };
        Ok(vec![Some(grad_f), Some(grad_x), Some(grad_before)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{
        CPU, Checked, Place, Shape, cases, disagreement, leaf, random, shapes, tolerance,
    };
    use super::super::touched::check_once_in;
    use super::*;
    use crate::cuda::host_shim::{Access, HostShim};
    use crate::fo_pool as pool;

    fn at_place(place: Place, f: &Tensor, x: &Tensor, before: &Tensor) -> Tensor {
        let h = match place {
            Place::Host => forget_mult(place.launcher(), f, x, before),
            Place::Cuda => pool::forget_mult(f, x, Some(before)),
        };
        h.unwrap()
    }

    fn check_forget_mult(place: Place, (seq, batch, hidden): Shape, kind: Kind) -> Checked {
        let f = random(&[seq, batch, hidden], Kind::Float).sigmoid().to_kind(kind);
        let (x, weights) =
            (random(&[seq, batch, hidden], kind), random(&[seq, batch, hidden], kind));
        let before = random(&[batch, hidden], Kind::Float);
        let run = |place: Option<Place>, kind: Kind| {
            let (device, state) = match place {
                Some(place) => (place.device(), Kind::Float),
                None => (CPU, kind),
            };
            let leaves =
                [leaf(&f, device, kind), leaf(&x, device, kind), leaf(&before, device, state)];
            let [f, x, before] = &leaves;
            let h = match place {
                Some(place) => at_place(place, f, x, before),
                None => pool::forget_mult(f, x, Some(before)).unwrap(),
            };
            let once = |read: i64, written: i64| {
                let host = HostShim::get().unwrap();
                let places = (host.places(Access::Read), host.places(Access::Written));
                let columns = batch * hidden;
                assert_eq!(places, ((read * columns) as usize, (written * columns) as usize));
                for given in [f, x] {
                    check_once_in(given, Access::Read).unwrap();
                }
            };
            if place == Some(Place::Host) {
                once(2 * seq + 1, seq);
            }
            let weights = weights.to_device(device).to_kind(h.kind());
            (&h * weights).to_kind(Kind::Double).sum(None).backward();
            if place == Some(Place::Host) {
                // f, x, d h, the state before, and h but for its last step.
                once(3 * seq + 1 + seq - 1, 2 * seq + 1);
            }
            let mut all = vec![h.detach()];
            all.extend(leaves.iter().map(|leaf| leaf.grad()));
            all.into_iter().map(|t| t.to_device(CPU).to_kind(Kind::Double)).collect::<Vec<_>>()
        };
        let (ours, theirs) = (run(Some(place), kind), run(None, Kind::Double));
        // The backward reads h as it was rounded, so d f is within a rounding of |h| · |d h|.
        let within = |name: &str| match (kind, name) {
            (Kind::BFloat16, "d f") => (0.05, 1.1 / 256.0),
            _ => tolerance(kind),
        };
        for (name, (a, b)) in ["h", "d f", "d x", "d before"].iter().zip(ours.iter().zip(&theirs)) {
            let off = disagreement(a, b, within(name));
            prop_assert!(off <= 1.0, "{name}: {off}");
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]

        #[test]
        fn the_forget_mult_kernels_equal_the_cpu(shape in shapes(), case in cases()) {
            check_forget_mult(Place::Host, shape, case.kind)?;
        }

        #[test]
        #[ignore = "wants a GPU"]
        fn on_a_card_the_forget_mult_kernels_equal_the_cpu(shape in shapes(), case in cases()) {
            check_forget_mult(Place::Cuda, shape, case.kind)?;
        }
    }

    #[test]
    fn bfloat16_is_rounded_as_torch_does() {
        // Every exponent, both ties and their neighbors, and what is no number.
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
        // A gate of 1 before anything: h_1 = 1 · x, whose gradient is the gradient that came, in float
        // only for `before`; x itself must be rounded by the forward.
        let before = Tensor::from_slice(&values).view([1, n]);
        let zeros = Tensor::zeros([1, 1, n], (Kind::BFloat16, CPU));
        let out = forget_mult(HostShim::get().unwrap(), &zeros, &zeros, &before).unwrap().view(-1);
        for (i, value) in values.iter().enumerate() {
            let (ours, torchs) =
                (out.double_value(&[i as i64]), expected.double_value(&[i as i64]));
            // 0 · 0 + 1 · -0 is 0.
            let same = ours == torchs || (ours.is_nan() && torchs.is_nan());
            assert!(same, "{value:e}: {ours:e} and {torchs:e}");
        }
    }
}
