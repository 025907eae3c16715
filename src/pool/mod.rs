//! fo-pooling: the recurrence of a QRNN as one differentiable operation.
//!
//! With the linear map's output as z, f, o before activation (Bradbury et al. 2016, equation 4):
//!
//! ```text
//! c_t = σ(f_t) tanh(z_t) + (1 - σ(f_t)) c_{t-1}
//! h_t = σ(o_t) c_t
//! ```
//!
//! No time step becomes a tensor operation of its own: forward and backward are one kernel each, on
//! the CPU in Rust, on a card in `kernels/`; the tensors' device decides. [`forget_mult`] is the
//! older recurrence alone, as in pytorch-qrnn.

mod card;
mod cpu;
mod forget_mult;
mod parts;
mod real;
mod rows;
mod stored;
mod stream;

pub(crate) use card::{COLUMN, try_out as try_card};
pub use forget_mult::forget_mult;
pub use real::Real;
use rows::PoolStored;
pub use stored::{Bf16, Stored};
use tch::{Device, Kind, Tensor};

use crate::autograd::{self, Backward, Forward, Function};
use crate::matmul::{Features, augmented_row};
use crate::{Error, Result, cuda, profile};

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
/// Any sizes; a tensor that is not contiguous is copied. Kinds: Float, and Double on the CPU. Gates
/// of kind BFloat16 (or Half, as autocast makes them) give an output of their kind, while the state
/// is computed, carried and returned in Float.
///
/// # Errors
/// [`Error::Usage`] where shapes, kinds or devices do not fit together; [`Error::Unavailable`] and
/// [`Error::Cuda`] where the card's kernel cannot be had or launched.
pub fn fo_pool(gates: &Tensor, before: &Tensor, zoneout: Zoneout) -> Result<Pooled> {
    fo_pool_locked(gates, before, zoneout, None)
}

/// [`fo_pool`] with locked dropout of its output, in the same kernel.
///
/// * `dropout`: (batch, hidden) or (1, batch, hidden), what multiplies the output at every step;
///   of the gates' kind. No gradient flows into it.
///
/// # Errors
/// As [`fo_pool`].
pub fn fo_pool_locked(
    gates: &Tensor,
    before: &Tensor,
    zoneout: Zoneout,
    dropout: Option<&Tensor>,
) -> Result<Pooled> {
    let hidden = gates.size().last().copied().unwrap_or_default() / 3;
    fo_pool_in_rows(gates, before, zoneout, dropout, hidden)
}

/// [`fo_pool_locked`] with the output as its device's linear maps read it.
///
/// # Errors
/// As [`fo_pool`].
pub(crate) fn fo_pool_features(
    gates: &Tensor,
    before: &Tensor,
    zoneout: Zoneout,
    dropout: Option<&Tensor>,
) -> Result<(Features, Tensor)> {
    let width = gates.size().last().copied().unwrap_or_default() / 3;
    let row = if cuda::is_gpu(gates.device()) { augmented_row(width) } else { width };
    let Pooled { output: all, state } = fo_pool_in_rows(gates, before, zoneout, dropout, row)?;
    Ok((Features { all, width }, state))
}

/// [`fo_pool_locked`] with rows of the output that are `out_row` numbers long, on a GPU more than
/// the features: then a one and zeros are behind them.
fn fo_pool_in_rows(
    gates: &Tensor,
    before: &Tensor,
    zoneout: Zoneout,
    dropout: Option<&Tensor>,
    out_row: i64,
) -> Result<Pooled> {
    check(gates, before, &zoneout, dropout)?;
    if gates.kind() == Kind::Half {
        let float = |tensor: &Tensor| tensor.f_to_kind(Kind::Float);
        let zoneout = match zoneout {
            Zoneout::Masked(mask) => Zoneout::Masked(float(&mask)?),
            other => other,
        };
        let dropout = dropout.map(float).transpose()?;
        let (gates, before) = (float(gates)?, float(before)?);
        let pooled = fo_pool_in_rows(&gates, &before, zoneout, dropout.as_ref(), out_row)?;
        return Ok(Pooled { output: pooled.output.f_to_kind(Kind::Half)?, state: pooled.state });
    }
    let settings = card::Settings { zoneout, dropout: dropout.map(Tensor::shallow_clone) };
    let state = if gates.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let before = before.f_to_kind(state)?;
    if matches!(gates.kind(), Kind::Float | Kind::BFloat16)
        && let Some(launcher) = cuda::launcher(gates.device())?
    {
        return card::fo_pool(launcher, gates, &before, settings, out_row);
    }
    match (gates.device(), gates.kind()) {
        (Device::Cpu, Kind::Float | Kind::Double | Kind::BFloat16) => {
            // Where no gradient can be asked for, nothing is kept for one.
            let keep = gates.requires_grad() || before.requires_grad();
            let operation = FoPool { settings: settings.contiguous()?, keep };
            pooled(autograd::apply(operation, &[gates, &before])?)
        }
        (device, kind) => refuse(format!("no kernel for {kind:?} on {device:?}")),
    }
}

/// The two outputs of an operation.
fn pooled(outputs: Vec<Tensor>) -> Result<Pooled> {
    match <[Tensor; 2]>::try_from(outputs) {
        Ok([output, state]) => Ok(Pooled { output, state }),
        Err(_) => unreachable!("fo-pooling returns two outputs"),
    }
}

fn refuse<T>(problem: String) -> Result<T> {
    Err(Error::usage(
        "fo_pool",
        problem,
        "give gates (seq, batch, 3 hidden), a state (batch, hidden) and masks of one kind and \
         device; beside BFloat16 or Half gates the state may be Float",
    ))
}

fn check(
    gates: &Tensor,
    before: &Tensor,
    zoneout: &Zoneout,
    dropout: Option<&Tensor>,
) -> Result<()> {
    let (size, state) = (gates.size(), before.size());
    let &[seq, batch, width] = size.as_slice() else {
        return refuse(format!("the gates have shape {size:?}"));
    };
    let hidden = width / 3;
    if width % 3 != 0 || [seq, batch, width].contains(&0) || state != [batch, hidden] {
        return refuse(format!("gates {size:?} and state {state:?} do not fit together"));
    }
    let alike = |mask: &Tensor| mask.kind() == gates.kind() && mask.device() == gates.device();
    if let Zoneout::Masked(mask) = zoneout
        && (mask.size() != [seq, batch, hidden] || !alike(mask))
    {
        return refuse(format!("the zoneout mask {mask:?} does not fit gates {gates:?}"));
    }
    if let Some(mask) = dropout
        && (![vec![batch, hidden], vec![1, batch, hidden]].contains(&mask.size()) || !alike(mask))
    {
        return refuse(format!("the dropout mask {mask:?} does not fit gates {gates:?}"));
    }
    let narrow = matches!(gates.kind(), Kind::BFloat16 | Kind::Half);
    let kinds = before.kind() == gates.kind() || (narrow && before.kind() == Kind::Float);
    if !kinds || before.device() != gates.device() {
        return refuse(format!(
            "the gates are {:?} on {:?}, the state {:?} on {:?}",
            gates.kind(),
            gates.device(),
            before.kind(),
            before.device()
        ));
    }
    Ok(())
}

/// The operation on the CPU as autograd sees it.
struct FoPool {
    settings: card::Settings,
    /// Whether a backward may come.
    keep: bool,
}

impl FoPool {
    fn forward_of<S: PoolStored>(&self, gates: Tensor, before: &Tensor) -> Result<Forward> {
        let (seq, batch, width) = gates.size3()?;
        let state = (S::Real::KIND, gates.device());
        let out = Tensor::f_empty([seq, batch, width / 3], (S::KIND, gates.device()))?;
        let last = Tensor::f_empty([batch, width / 3], state)?;
        let kept = self.keep.then(|| Tensor::f_empty([seq, batch, width / 3], state));
        let kept = kept.transpose()?;
        let outputs = cpu::Outputs { before, out: &out, last: &last, kept: kept.as_ref() };
        cpu::forward::<S>(&gates, &self.settings, &outputs)?;
        let saved = kept.map_or(vec![], |kept| vec![gates, kept]);
        Ok(Forward { outputs: vec![out, last], saved })
    }

    fn backward_of<S: PoolStored>(&self, call: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [gates, kept] = call.saved else { unreachable!("two tensors were saved") };
        let (seq, batch, width) = gates.size3()?;
        let contiguous =
            |grad: &Option<Tensor>| grad.as_ref().map(Tensor::f_contiguous).transpose();
        let out = match contiguous(&call.grads[0])? {
            Some(grad) => grad,
            None => Tensor::f_zeros([seq, batch, width / 3], (S::KIND, gates.device()))?,
        };
        let last = contiguous(&call.grads[1])?;
        let of_gates = gates.f_empty_like()?;
        let of_before = Tensor::f_empty([batch, width / 3], (S::Real::KIND, gates.device()))?;
        let grads = cpu::Gradients {
            kept,
            out: &out,
            last: last.as_ref(),
            gates: &of_gates,
            before: &of_before,
        };
        cpu::backward::<S>(gates, &self.settings, &grads)?;
        Ok(vec![Some(of_gates), Some(of_before)])
    }
}

impl Function for FoPool {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let (gates, before) = (inputs[0].f_contiguous()?, inputs[1].f_contiguous()?);
        let _stage = profile::stage("pooling forward");
        match gates.kind() {
            Kind::Double => self.forward_of::<f64>(gates, &before),
            Kind::BFloat16 => self.forward_of::<Bf16>(gates, &before),
            _ => self.forward_of::<f32>(gates, &before),
        }
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let _stage = profile::stage("pooling backward");
        match call.saved.first().map(Tensor::kind) {
            Some(Kind::Double) => self.backward_of::<f64>(&call),
            Some(Kind::BFloat16) => self.backward_of::<Bf16>(&call),
            _ => self.backward_of::<f32>(&call),
        }
    }
}

#[cfg(test)]
mod tests;
