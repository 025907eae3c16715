//! fo-pooling as one differentiable operation: checks its arguments and chooses the back end.

use tch::{Device, Kind, Tensor};

use super::options::{FoPoolOptions, Pooled, Zoneout};
use super::{cpu, cuda as on_cuda};
use crate::matmul::{Features, augmented_row};
use crate::{Error, Result, cuda};

/// fo-pooling (Bradbury et al. 2016, equation 4), differentiable in `gates` and `initial_state`.
///
/// * `gates`: (seq, batch, 3 hidden), z, f and o before activation, concatenated;
/// * `initial_state`: (batch, hidden), the state c before the first time step.
///
/// A tensor that is not contiguous is copied. Kinds: Float, and Double on the CPU. Gates of kind BFloat16
/// or Half give an output of their kind; the state is computed and returned in Float.
///
/// # Errors
/// [`Error::Shape`] if shapes, kinds or devices do not match; [`Error::Unavailable`] and [`Error::Cuda`]
/// if the CUDA kernel cannot be compiled or launched.
pub fn fo_pool(gates: &Tensor, initial_state: &Tensor, options: FoPoolOptions) -> Result<Pooled> {
    let width = gates.size().last().copied().unwrap_or_default();
    let gates = Features { all: gates.shallow_clone(), width };
    fo_pool_with_rows(&gates, initial_state, options, width / 3)
}

/// [`fo_pool`] from the output of [`crate::matmul::linear_of_features`] to the input of the next. Returns
/// the output and the final state.
///
/// # Errors
/// As [`fo_pool`].
pub fn fo_pool_features(
    gates: &Features,
    initial_state: &Tensor,
    options: FoPoolOptions,
) -> Result<(Features, Tensor)> {
    let width = gates.width / 3;
    let row = if cuda::is_gpu(gates.all.device()) { augmented_row(width) } else { width };
    let Pooled { output: all, state } = fo_pool_with_rows(gates, initial_state, options, row)?;
    Ok((Features { all, width }, state))
}

/// [`fo_pool`] with output rows of `out_row` elements. On a GPU that may be more than `hidden`: a one and
/// zeros then follow the features of each row.
fn fo_pool_with_rows(
    gates: &Features,
    initial_state: &Tensor,
    options: FoPoolOptions,
    out_row: i64,
) -> Result<Pooled> {
    check(gates, initial_state, &options)?;
    let Features { all, width } = gates;
    if all.kind() == Kind::Half {
        let float = |tensor: &Tensor| tensor.f_to_kind(Kind::Float);
        let zoneout = match options.zoneout {
            Zoneout::Masked(mask) => Zoneout::Masked(float(&mask)?),
            other => other,
        };
        let dropout = options.dropout.as_ref().map(float).transpose()?;
        let options = FoPoolOptions { zoneout, dropout };
        let gates = Features { all: float(all)?, width: *width };
        let pooled = fo_pool_with_rows(&gates, &float(initial_state)?, options, out_row)?;
        return Ok(Pooled { output: pooled.output.f_to_kind(Kind::Half)?, state: pooled.state });
    }
    let state_kind = if all.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let initial_state = initial_state.f_to_kind(state_kind)?;
    if matches!(all.kind(), Kind::Float | Kind::BFloat16)
        && let Some(launcher) = cuda::launcher(all.device())?
    {
        return on_cuda::fo_pool(launcher, all, &initial_state, options, out_row);
    }
    match (all.device(), all.kind()) {
        (Device::Cpu, Kind::Float | Kind::Double | Kind::BFloat16) => {
            cpu::fo_pool(&gates.view()?, &initial_state, &options)
        }
        (device, kind) => refuse(format!("no kernel for {kind:?} on {device:?}")),
    }
}

fn refuse<T>(problem: String) -> Result<T> {
    Err(Error::shape(
        "fo_pool",
        problem,
        "pass gates (seq, batch, 3 hidden), a state (batch, hidden) and masks of one kind and \
         device; with BFloat16 or Half gates the state may be Float",
    ))
}

fn check(gates: &Features, initial_state: &Tensor, options: &FoPoolOptions) -> Result<()> {
    let Features { all: gates, width } = gates;
    let (size, state, width) = (gates.size(), initial_state.size(), *width);
    let &[seq, batch, row] = size.as_slice() else {
        return refuse(format!("the gates have shape {size:?}"));
    };
    let hidden = width / 3;
    if width % 3 != 0 || width > row || [seq, batch, width].contains(&0) || state != [batch, hidden]
    {
        return refuse(format!("the shapes of gates {size:?} and state {state:?} do not match"));
    }
    let matches_gates =
        |mask: &Tensor| mask.kind() == gates.kind() && mask.device() == gates.device();
    if let Zoneout::Masked(mask) = &options.zoneout
        && (mask.size() != [seq, batch, hidden] || !matches_gates(mask))
    {
        return refuse(format!("the zoneout mask {mask:?} does not match the gates {gates:?}"));
    }
    if let Some(mask) = &options.dropout
        && (![vec![batch, hidden], vec![1, batch, hidden]].contains(&mask.size())
            || !matches_gates(mask))
    {
        return refuse(format!("the dropout mask {mask:?} does not match the gates {gates:?}"));
    }
    let narrow = matches!(gates.kind(), Kind::BFloat16 | Kind::Half);
    let kind_matches =
        initial_state.kind() == gates.kind() || (narrow && initial_state.kind() == Kind::Float);
    if !kind_matches || initial_state.device() != gates.device() {
        return refuse(format!(
            "the gates are {:?} on {:?}, the state {:?} on {:?}",
            gates.kind(),
            gates.device(),
            initial_state.kind(),
            initial_state.device()
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
