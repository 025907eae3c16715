//! Every element that the kernels should access is accessed once, and nothing outside the tensors.

use proptest::prelude::*;
use tch::{Kind, Tensor};

use super::pool::{GROUP, Gradients, Outputs, backward, forward};
use super::tests::{
    BackEnd, Case, Checked, Shape, cases, check_padding, convert, options, padded, random, shapes,
};
use super::touched::{Guarded, check_once, check_written};
use crate::cuda::host_shim::Access;
use crate::fo_pool::options::Zoneout;

/// Checks that kernels read each input element and write each output element once, and access nothing
/// outside the tensors, where there is NaN.
fn check_accesses(back_end: BackEnd, (seq, batch, hidden): Shape, case: Case) -> Checked {
    let (launcher, device) = (back_end.launcher(), back_end.device());
    let float = Kind::Float;
    let guard = |tensor: &Tensor| Guarded::of(tensor, device);
    let poisoned = |size: &[i64], kind| Guarded::poisoned(size, kind, device);
    let gates = padded(&random(&[seq, batch, 3 * hidden], case.kind), case.gap, device).inside();
    let initial_state = guard(&random(&[batch, hidden], float));
    let mut options = convert(&options(case, (seq, batch, hidden)), device, case.kind);
    // Gates and masks, which forward and backward read.
    let mut read = vec![gates.narrow(2, 0, 3 * hidden)];
    if let Zoneout::Masked(mask) = &options.zoneout {
        read.push(guard(mask).inside());
        options.zoneout = Zoneout::Masked(read[1].shallow_clone());
    }
    read.extend(options.dropout.as_ref().map(Tensor::shallow_clone));
    let out_row = hidden + case.out_gap;
    let out = poisoned(&[seq, batch, out_row], case.kind);
    let final_state = poisoned(&[batch, hidden], float);
    let saved_states = poisoned(&[(seq + GROUP - 1) / GROUP, batch, hidden], float);
    let tensors = (out.inside(), final_state.inside(), saved_states.inside());
    for saves_states in [false, true] {
        let outputs = Outputs {
            out: &tensors.0,
            final_state: &tensors.1,
            saved_states: saves_states.then_some(&tensors.2),
        };
        let initial_state = initial_state.inside();
        // SAFETY: contiguous tensors of the device, of the kinds and shapes of the contract.
        unsafe { forward(&*launcher, &gates, &initial_state, &options, &outputs) }.unwrap();
        let written = [&out, &final_state, &saved_states];
        check_written(back_end, &written[..2 + usize::from(saves_states)])?;
        check_once(back_end, Access::Read, read.iter().chain([&initial_state]))?;
    }
    // The backward must not read the padding, which is NaN.
    let grad_out = Guarded::poisoned(&[seq, batch, out_row], case.kind, device);
    let grad_features = grad_out.inside().narrow(2, 0, hidden);
    grad_features.shallow_clone().copy_(&random(&[seq, batch, hidden], case.kind));
    let grad_state = guard(&random(&[batch, hidden], float)).inside();
    let grad_gates = poisoned(&gates.size(), case.kind);
    let grad_initial_state = poisoned(&[batch, hidden], float);
    let grads = Gradients {
        saved_states: &tensors.2,
        out: &grad_out.inside(),
        final_state: case.scored.1.then_some(&grad_state),
        gates: &grad_gates.inside(),
        initial_state: &grad_initial_state.inside(),
    };
    // SAFETY: as above.
    unsafe { backward(&*launcher, &gates, &options, &grads) }.unwrap();
    check_written(back_end, &[&grad_gates, &grad_initial_state])?;
    check_padding(grads.gates, 3 * hidden)?;
    check_once(
        back_end,
        Access::Read,
        read.iter().chain([grads.saved_states, &grad_features]).chain(grads.final_state),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn every_element_is_accessed_once_and_nothing_outside(shape in shapes(), case in cases()) {
        check_accesses(BackEnd::HostShim, shape, case)?;
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_every_element_is_written_and_nothing_outside(shape in shapes(), case in cases()) {
        check_accesses(BackEnd::Cuda, shape, case)?;
    }
}
