//! The forget-mult of pytorch-qrnn: the recurrence alone, gates given after their activation.

use tch::{Device, Kind, Tensor};

use super::cuda;
use super::tiles::{Direction, Rows, Shape, Tiles};
use crate::autograd::{self, Backward, Forward, Function};
use crate::cuda::CudaDevice;
use crate::simd::Accum;
use crate::{Error, Result};

/// h_t = f_t x_t + (1 - f_t) h_{t-1}: differentiable in all arguments (Bradbury et al. 2016,
/// equation 3 with f for 1 - f; pytorch-qrnn's `ForgetMult`).
///
/// * `f`, `x`: (seq, batch, hidden);
/// * `before`: (batch, hidden), h before the first step; `None` for zeros.
///
/// Returns h, (seq, batch, hidden), of f's kind. Any sizes; a tensor that is not contiguous is
/// copied. Kinds: Float, and Double on the CPU; BFloat16 and Half with a state that is computed in
/// Float, and may be given in it.
///
/// # Errors
/// [`Error::Shape`] where shapes, kinds or devices do not fit together; [`Error::Unavailable`] and
/// [`Error::Cuda`] where the card's kernel cannot be had or launched.
pub fn forget_mult(f: &Tensor, x: &Tensor, before: Option<&Tensor>) -> Result<Tensor> {
    let narrow = matches!(f.kind(), Kind::BFloat16 | Kind::Half);
    let size = f.size();
    let &[seq, batch, hidden] = size.as_slice() else {
        return refuse(format!("f has shape {size:?}"));
    };
    if x.size() != size || x.kind() != f.kind() || x.device() != f.device() {
        return refuse(format!("f {f:?} and x {x:?} do not fit together"));
    }
    if [seq, batch, hidden].contains(&0) {
        return refuse(format!("f has shape {size:?}: there is nothing to pool"));
    }
    let state = if narrow { Kind::Float } else { f.kind() };
    let before = match before {
        None => Tensor::f_zeros([batch, hidden], (state, f.device()))?,
        Some(before)
            if before.size() == [batch, hidden]
                && [state, f.kind()].contains(&before.kind())
                && before.device() == f.device() =>
        {
            before.f_to_kind(state)?
        }
        Some(before) => return refuse(format!("f {f:?} and state {before:?} do not fit together")),
    };
    match (f.device(), f.kind()) {
        (Device::Cpu, Kind::Float | Kind::Double) => {
            let mut outputs = autograd::apply(ForgetMult, &[f, x, &before])?.into_iter();
            outputs.next().ok_or_else(|| unreachable!("ForgetMult::forward returns one output"))
        }
        (Device::Cuda(ordinal), Kind::Float | Kind::BFloat16) => {
            cuda::forget_mult(CudaDevice::of(ordinal)?, f, x, &before)
        }
        (Device::Cpu | Device::Cuda(_), kind @ (Kind::BFloat16 | Kind::Half)) => {
            let (f, x) = (f.f_to_kind(Kind::Float)?, x.f_to_kind(Kind::Float)?);
            Ok(forget_mult(&f, &x, Some(&before))?.f_to_kind(kind)?)
        }
        (device, kind) => refuse(format!("no kernel for {kind:?} on {device:?}")),
    }
}

fn refuse<T>(problem: String) -> Result<T> {
    Err(Error::shape(
        "forget_mult",
        problem,
        "give f and x (seq, batch, hidden) and a state (batch, hidden) of one kind and device; \
         beside BFloat16 or Half the state may be Float",
    ))
}

/// On the CPU.
struct ForgetMult;

impl Function for ForgetMult {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let [f, x, before] = [0, 1, 2].map(|i| inputs[i].f_contiguous());
        let (f, x, before) = (f?, x?, before?);
        let h = f.f_empty_like()?;
        match f.kind() {
            Kind::Double => forward::<f64>(&f, &x, &before, &h)?,
            _ => forward::<f32>(&f, &x, &before, &h)?,
        }
        Ok(Forward { saved: vec![f, x, before, h.shallow_clone()], outputs: vec![h] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [f, x, before, h] = call.saved else { unreachable!("four tensors were saved") };
        let Some(grad) = &call.grads[0] else { return Ok(vec![None, None, None]) };
        let grad = grad.f_contiguous()?;
        let grads = [f.f_empty_like()?, x.f_empty_like()?, before.f_empty_like()?];
        match f.kind() {
            Kind::Double => backward::<f64>([f, x, before, h], &grad, &grads)?,
            _ => backward::<f32>([f, x, before, h], &grad, &grads)?,
        }
        Ok(grads.map(Some).into())
    }
}

fn forward<R: Accum>(f: &Tensor, x: &Tensor, before: &Tensor, h: &Tensor) -> Result<()> {
    let shape = Shape::of(f, 1)?;
    let rows = |tensor| Rows::<R>::new(tensor, shape.batch, shape.hidden);
    let (f, x, before, h) = (rows(f), rows(x), rows(before), rows(h));
    Tiles::of(shape).walk(
        Direction::InTime,
        |_| (),
        |t, tile, _| {
            // SAFETY: t and part lie inside by `walk`; each thread writes its own parts of h, and
            // reads only what it wrote at t - 1.
            let (f, x, last, h) = unsafe {
                let last = if t == 0 { before.read(0, tile) } else { h.read(t - 1, tile) };
                (f.read(t, tile), x.read(t, tile), last, h.write(t, tile))
            };
            for i in 0..h.len() {
                h[i] = f[i] * x[i] + (R::ONE - f[i]) * last[i];
            }
        },
        || (),
    )
}

fn backward<R: Accum>(
    [f, x, before, h]: [&Tensor; 4],
    grad: &Tensor,
    [grad_f, grad_x, grad_before]: &[Tensor; 3],
) -> Result<()> {
    let shape = Shape::of(f, 1)?;
    let rows = |tensor| Rows::<R>::new(tensor, shape.batch, shape.hidden);
    let (f, x, before, h, grad) = (rows(f), rows(x), rows(before), rows(h), rows(grad));
    let (grad_f, grad_x, carry) = (rows(grad_f), rows(grad_x), rows(grad_before));
    Tiles::of(shape).walk(
        Direction::Back,
        // SAFETY: as in `forward`; the gradients of a thread's own parts are its alone.
        |tile| unsafe { carry.write(0, tile).fill(R::default()) },
        |t, tile, _| {
            // SAFETY: as above.
            let (f, x, last, grad, carry, grad_f, grad_x) = unsafe {
                let last = if t == 0 { before.read(0, tile) } else { h.read(t - 1, tile) };
                let (grad, carry) = (grad.read(t, tile), carry.write(0, tile));
                let (grad_f, grad_x) = (grad_f.write(t, tile), grad_x.write(t, tile));
                (f.read(t, tile), x.read(t, tile), last, grad, carry, grad_f, grad_x)
            };
            for i in 0..carry.len() {
                let g = grad[i] + carry[i];
                grad_f[i] = g * (x[i] - last[i]);
                grad_x[i] = g * f[i];
                carry[i] = g * (R::ONE - f[i]);
            }
        },
        || (),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The equation as a loop of tensor operations.
    fn time_loop(f: &Tensor, x: &Tensor, before: &Tensor) -> Tensor {
        let mut h = before.shallow_clone();
        let step = |t| {
            h = f.get(t) * x.get(t) + (1.0 - f.get(t)) * &h;
            h.shallow_clone()
        };
        Tensor::stack(&(0..f.size()[0]).map(step).collect::<Vec<_>>(), 0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        #[test]
        fn equals_the_time_loop_forward_and_backward(
            seq in 1..9i64, batch in 1..5i64, hidden in prop_oneof![1..40i64, 500..530i64],
        ) {
            for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 2e-5)] {
                let options = (kind, Device::Cpu);
                let size = [seq, batch, hidden];
                let inputs = [
                    Tensor::randn(size, options).sigmoid(),
                    Tensor::randn(size, options),
                    Tensor::randn([batch, hidden], options),
                ];
                let leaves = || inputs.each_ref().map(|t| t.copy().set_requires_grad(true));
                let (ours, theirs) = (leaves(), leaves());
                let h = forget_mult(&ours[0], &ours[1], Some(&ours[2])).unwrap();
                let plain = time_loop(&theirs[0], &theirs[1], &theirs[2]);
                let weights = Tensor::randn(size, options);
                (&h * &weights).sum(kind).backward();
                (&plain * &weights).sum(kind).backward();
                let mut pairs = vec![(h, plain)];
                pairs.extend(ours.iter().zip(&theirs).map(|(a, b)| (a.grad(), b.grad())));
                for (a, b) in pairs {
                    let difference = (a - b).abs().max().double_value(&[]);
                    prop_assert!(difference <= tolerance, "{kind:?}: {difference:e}");
                }
            }
        }
    }

    #[test]
    fn no_state_is_a_state_of_zeros_and_half_precision_keeps_a_full_state() {
        let options = (Kind::Float, Device::Cpu);
        let (f, x) = (Tensor::rand([40, 2, 5], options), Tensor::randn([40, 2, 5], options));
        let zeros = Tensor::zeros([2, 5], options);
        let exact = forget_mult(&f, &x, Some(&zeros)).unwrap();
        assert_eq!(forget_mult(&f, &x, None).unwrap(), exact);
        let narrow = |t: &Tensor| t.to_kind(Kind::BFloat16);
        let (f, x) = (narrow(&f), narrow(&x));
        let wide = |t: &Tensor| t.to_kind(Kind::Float);
        let expected = narrow(&forget_mult(&wide(&f), &wide(&x), None).unwrap());
        assert_eq!(forget_mult(&f, &x, Some(&zeros)).unwrap(), expected);
    }

    #[test]
    fn tensors_that_do_not_fit_are_refused() {
        let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        let (f, state) = (zeros(&[2, 3, 4]), zeros(&[3, 4]));
        let cases = [
            forget_mult(&f, &zeros(&[2, 3, 5]), None),
            forget_mult(&f, &f.to_kind(Kind::Double), None),
            forget_mult(&f, &f, Some(&zeros(&[3, 5]))),
            forget_mult(&f, &f, Some(&state.to_kind(Kind::Double))),
            forget_mult(&state, &state, None),
            forget_mult(&zeros(&[0, 3, 4]), &zeros(&[0, 3, 4]), None),
            forget_mult(&f.to_kind(Kind::Int64), &f.to_kind(Kind::Int64), None),
        ];
        for case in cases {
            assert!(matches!(case, Err(Error::Shape { .. })), "{case:?}");
        }
    }
}
