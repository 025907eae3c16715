//! The forget-mult of pytorch-qrnn: the recurrence on gates after activation.

use tch::{Device, Kind, Tensor};

use super::cuda;
use super::tiles::{Direction, Rows, Shape, Tiles};
use crate::autograd::{self, Backward, Forward, Function};
use crate::cuda::CudaDevice;
use crate::simd::Accum;
use crate::{Error, Result};

/// h_t = f_t x_t + (1 - f_t) h_{t-1}, differentiable in all arguments (Bradbury et al. 2016,
/// equation 3 with f for 1 - f; pytorch-qrnn's `ForgetMult`).
///
/// * `f`, `x`: (seq, batch, hidden);
/// * `initial_state`: (batch, hidden), h before the first time step; `None` for zeros.
///
/// Returns h, (seq, batch, hidden), of f's kind. A tensor that is not contiguous is copied. Kinds: Float,
/// and Double on the CPU. For BFloat16 and Half, the state is computed in Float, and `initial_state` may
/// be Float.
///
/// # Errors
/// [`Error::Shape`] if shapes, kinds or devices do not match; [`Error::Unavailable`] and [`Error::Cuda`]
/// if the CUDA kernel cannot be compiled or launched.
pub fn forget_mult(f: &Tensor, x: &Tensor, initial_state: Option<&Tensor>) -> Result<Tensor> {
    let narrow = matches!(f.kind(), Kind::BFloat16 | Kind::Half);
    let size = f.size();
    let &[seq, batch, hidden] = size.as_slice() else {
        return refuse(format!("f has shape {size:?}"));
    };
    if x.size() != size || x.kind() != f.kind() || x.device() != f.device() {
        return refuse(format!("f {f:?} and x {x:?} do not match"));
    }
    if [seq, batch, hidden].contains(&0) {
        return refuse(format!("f has shape {size:?}, which is empty"));
    }
    let state_kind = if narrow { Kind::Float } else { f.kind() };
    let initial_state = match initial_state {
        None => Tensor::f_zeros([batch, hidden], (state_kind, f.device()))?,
        Some(initial_state)
            if initial_state.size() == [batch, hidden]
                && [state_kind, f.kind()].contains(&initial_state.kind())
                && initial_state.device() == f.device() =>
        {
            initial_state.f_to_kind(state_kind)?
        }
        Some(initial_state) => {
            return refuse(format!("f {f:?} and state {initial_state:?} do not match"));
        }
    };
    match (f.device(), f.kind()) {
        (Device::Cpu, Kind::Float | Kind::Double) => {
            let mut outputs = autograd::apply(ForgetMult, &[f, x, &initial_state])?.into_iter();
            outputs.next().ok_or_else(|| unreachable!("ForgetMult::forward returns one output"))
        }
        (Device::Cuda(ordinal), Kind::Float | Kind::BFloat16) => {
            cuda::forget_mult(CudaDevice::of(ordinal)?, f, x, &initial_state)
        }
        (Device::Cpu | Device::Cuda(_), kind @ (Kind::BFloat16 | Kind::Half)) => {
            let (f, x) = (f.f_to_kind(Kind::Float)?, x.f_to_kind(Kind::Float)?);
            Ok(forget_mult(&f, &x, Some(&initial_state))?.f_to_kind(kind)?)
        }
        (device, kind) => refuse(format!("no kernel for {kind:?} on {device:?}")),
    }
}

fn refuse<T>(problem: String) -> Result<T> {
    Err(Error::shape(
        "forget_mult",
        problem,
        "pass f and x (seq, batch, hidden) and a state (batch, hidden) of one kind and device; \
         with BFloat16 or Half the state may be Float",
    ))
}

struct ForgetMult;

impl Function for ForgetMult {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let [f, x, initial_state] = [0, 1, 2].map(|i| inputs[i].f_contiguous());
        let (f, x, initial_state) = (f?, x?, initial_state?);
        let h = f.f_empty_like()?;
        match f.kind() {
            Kind::Double => forward::<f64>(&f, &x, &initial_state, &h)?,
            _ => forward::<f32>(&f, &x, &initial_state, &h)?,
        }
        Ok(Forward { saved: vec![f, x, initial_state, h.shallow_clone()], outputs: vec![h] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [f, x, initial_state, h] = call.saved else { unreachable!("four tensors were saved") };
        let Some(grad) = &call.grads[0] else { return Ok(vec![None, None, None]) };
        let grad = grad.f_contiguous()?;
        let grads = [f.f_empty_like()?, x.f_empty_like()?, initial_state.f_empty_like()?];
        match f.kind() {
            Kind::Double => backward::<f64>([f, x, initial_state, h], &grad, &grads)?,
            _ => backward::<f32>([f, x, initial_state, h], &grad, &grads)?,
        }
        Ok(grads.map(Some).into())
    }
}

fn forward<R: Accum>(f: &Tensor, x: &Tensor, initial_state: &Tensor, h: &Tensor) -> Result<()> {
    let shape = Shape::of(f, 1)?;
    let rows = |tensor| Rows::<R>::new(tensor, shape.batch, shape.hidden);
    let (f, x, initial_state, h) = (rows(f), rows(x), rows(initial_state), rows(h));
    Tiles::of(shape).for_each_step(
        Direction::Forward,
        |_| (),
        |t, tile, _| {
            // SAFETY: `for_each_step` passes t and tile inside the tensors; a tile of h belongs to one
            // thread, which wrote step t - 1 before.
            let (f, x, previous, h) = unsafe {
                let previous =
                    if t == 0 { initial_state.read(0, tile) } else { h.read(t - 1, tile) };
                (f.read(t, tile), x.read(t, tile), previous, h.write(t, tile))
            };
            for i in 0..h.len() {
                h[i] = f[i] * x[i] + (R::ONE - f[i]) * previous[i];
            }
        },
        || (),
    )
}

fn backward<R: Accum>(
    [f, x, initial_state, h]: [&Tensor; 4],
    grad: &Tensor,
    [grad_f, grad_x, grad_initial_state]: &[Tensor; 3],
) -> Result<()> {
    let shape = Shape::of(f, 1)?;
    let rows = |tensor| Rows::<R>::new(tensor, shape.batch, shape.hidden);
    let (f, x, initial_state, h, grad) =
        (rows(f), rows(x), rows(initial_state), rows(h), rows(grad));
    let (grad_f, grad_x, grad_state) = (rows(grad_f), rows(grad_x), rows(grad_initial_state));
    Tiles::of(shape).for_each_step(
        Direction::Backward,
        // SAFETY: as in `forward`; a tile of each gradient belongs to one thread.
        |tile| unsafe { grad_state.write(0, tile).fill(R::default()) },
        |t, tile, _| {
            // SAFETY: as above.
            let (f, x, previous, grad, grad_state, grad_f, grad_x) = unsafe {
                let previous =
                    if t == 0 { initial_state.read(0, tile) } else { h.read(t - 1, tile) };
                let (grad, grad_state) = (grad.read(t, tile), grad_state.write(0, tile));
                let (grad_f, grad_x) = (grad_f.write(t, tile), grad_x.write(t, tile));
                (f.read(t, tile), x.read(t, tile), previous, grad, grad_state, grad_f, grad_x)
            };
            for i in 0..grad_state.len() {
                let g = grad[i] + grad_state[i];
                grad_f[i] = g * (x[i] - previous[i]);
                grad_x[i] = g * f[i];
                grad_state[i] = g * (R::ONE - f[i]);
            }
        },
        || (),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The equation as a loop of tensor operations over time.
    fn time_loop(f: &Tensor, x: &Tensor, initial_state: &Tensor) -> Tensor {
        let mut h = initial_state.shallow_clone();
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
                let (ours, reference) = (leaves(), leaves());
                let h = forget_mult(&ours[0], &ours[1], Some(&ours[2])).unwrap();
                let expected = time_loop(&reference[0], &reference[1], &reference[2]);
                let weights = Tensor::randn(size, options);
                (&h * &weights).sum(kind).backward();
                (&expected * &weights).sum(kind).backward();
                let mut pairs = vec![(h, expected)];
                pairs.extend(ours.iter().zip(&reference).map(|(a, b)| (a.grad(), b.grad())));
                for (a, b) in pairs {
                    let difference = (a - b).abs().max().double_value(&[]);
                    prop_assert!(difference <= tolerance, "{kind:?}: {difference:e}");
                }
            }
        }
    }

    #[test]
    fn a_missing_state_is_zero_and_half_precision_inputs_have_a_float_state() {
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
    fn mismatched_tensors_are_rejected() {
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
