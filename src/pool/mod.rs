//! fo-pooling: the recurrence of a QRNN as one differentiable operation.
//!
//! With the linear map's output as z, f, o before activation (Bradbury et al. 2016, equation 4):
//!
//! ```text
//! c_t = σ(f_t) tanh(z_t) + (1 - σ(f_t)) c_{t-1}
//! h_t = σ(o_t) c_t
//! ```
//!
//! No time step becomes a tensor operation of its own: forward and backward are one kernel each.

mod cpu;
mod real;
mod rows;

pub use real::Real;
use tch::{Device, Kind, Tensor};

use crate::autograd::{self, Backward, Forward, Function};
use crate::{Error, Result, profile};

/// Zoneout of the forget gate (Krueger et al. 2016, as pytorch-qrnn applies it).
#[derive(Debug, Default)]
pub enum Zoneout {
    /// The gate as it is.
    #[default]
    Off,
    /// Evaluation: the gate times a number, 1 - p.
    Scaled(f64),
    /// Training: the gate times a mask of zeros and ones, (seq, batch, hidden).
    Masked(Tensor),
}

/// What fo-pooling returns.
#[derive(Debug)]
pub struct Pooled {
    /// h, (seq, batch, hidden).
    pub output: Tensor,
    /// The last state c, (batch, hidden), to be carried into the next window.
    pub state: Tensor,
}

/// fo-pooling with its gates: differentiable in `gates` and `before`.
///
/// * `gates`: (seq, batch, 3 hidden), the linear map's output, z, f and o side by side;
/// * `before`: (batch, hidden), the state c before the first step.
///
/// Kinds Float and Double; any sizes. A tensor that is not contiguous is copied.
///
/// # Errors
/// [`Error::Usage`] where shapes, kinds or devices do not fit together.
pub fn fo_pool(gates: &Tensor, before: &Tensor, zoneout: Zoneout) -> Result<Pooled> {
    check(gates, before, &zoneout)?;
    let mut outputs = autograd::apply(FoPool { zoneout }, &[gates, before])?.into_iter();
    match (outputs.next(), outputs.next()) {
        (Some(output), Some(state)) => Ok(Pooled { output, state }),
        _ => unreachable!("FoPool::forward returns two outputs"),
    }
}

fn check(gates: &Tensor, before: &Tensor, zoneout: &Zoneout) -> Result<()> {
    let refuse = |problem: String| {
        Err(Error::usage(
            "fo_pool",
            problem,
            "give gates (seq, batch, 3 hidden) and a state (batch, hidden) of one kind and device",
        ))
    };
    let (size, state) = (gates.size(), before.size());
    let &[seq, batch, width] = size.as_slice() else {
        return refuse(format!("the gates have shape {size:?}"));
    };
    if width % 3 != 0 || seq == 0 || state != [batch, width / 3] {
        return refuse(format!("gates {size:?} and state {state:?} do not fit together"));
    }
    if let Zoneout::Masked(mask) = zoneout
        && (mask.size() != [seq, batch, width / 3]
            || mask.kind() != gates.kind()
            || mask.device() != gates.device())
    {
        return refuse(format!("the zoneout mask {:?} does not fit gates {size:?}", mask.size()));
    }
    if before.kind() != gates.kind() || before.device() != gates.device() {
        return refuse(format!(
            "the gates are {:?} on {:?}, the state {:?} on {:?}",
            gates.kind(),
            gates.device(),
            before.kind(),
            before.device()
        ));
    }
    match (gates.device(), gates.kind()) {
        (Device::Cpu, Kind::Float | Kind::Double) => Ok(()),
        (device, kind) => refuse(format!("no kernel for {kind:?} on {device:?}")),
    }
}

/// The operation as autograd sees it: saves the gates and the states, recomputes the activations.
struct FoPool {
    zoneout: Zoneout,
}

impl FoPool {
    fn operands<'a>(&'a self, gates: &'a Tensor, before: &'a Tensor) -> cpu::Operands<'a> {
        let (mask, keep) = match &self.zoneout {
            Zoneout::Off => (None, 1.0),
            Zoneout::Scaled(keep) => (None, *keep),
            Zoneout::Masked(mask) => (Some(mask), 1.0),
        };
        cpu::Operands { gates, before, mask, keep }
    }
}

impl Function for FoPool {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let (gates, before) = (inputs[0].f_contiguous()?, inputs[1].f_contiguous()?);
        if let Zoneout::Masked(mask) = &mut self.zoneout {
            *mask = mask.f_contiguous()?;
        }
        let _stage = profile::stage("pooling forward");
        let (seq, batch, width) = gates.size3()?;
        let options = (gates.kind(), gates.device());
        let c = Tensor::f_empty([seq, batch, width / 3], options)?;
        let h = Tensor::f_empty_like(&c)?;
        let operands = self.operands(&gates, &before);
        match gates.kind() {
            Kind::Double => cpu::forward::<f64>(&operands, &c, &h)?,
            _ => cpu::forward::<f32>(&operands, &c, &h)?,
        }
        let last = c.f_select_copy(0, seq - 1)?;
        Ok(Forward { outputs: vec![h, last], saved: vec![gates, before, c] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let _stage = profile::stage("pooling backward");
        let [gates, before, c] = call.saved else { unreachable!("three tensors were saved") };
        let contiguous =
            |grad: &Option<Tensor>| grad.as_ref().map(Tensor::f_contiguous).transpose();
        let grad_h = match contiguous(&call.grads[0])? {
            Some(grad) => grad,
            None => c.f_zeros_like()?,
        };
        let grad_last = contiguous(&call.grads[1])?;
        let grads = cpu::OutputGrads { h: &grad_h, last: grad_last.as_ref() };
        let (grad_gates, grad_before) = (gates.f_empty_like()?, before.f_empty_like()?);
        let operands = self.operands(gates, before);
        match gates.kind() {
            Kind::Double => cpu::backward::<f64>(&operands, c, &grads, &grad_gates, &grad_before)?,
            _ => cpu::backward::<f32>(&operands, c, &grads, &grad_gates, &grad_before)?,
        }
        Ok(vec![Some(grad_gates), Some(grad_before)])
    }
}

#[cfg(test)]
mod tests;
