//! fo-pooling on a GPU: launches `kernels/fo_pool.cu`.
//!
//! A [`Launch`] is a GPU, or in tests the host shim, which runs the same source on CPU tensors.

use std::sync::Arc;

use tch::{Kind, Tensor};

use super::shape::{Shape, at, at_or_null, contiguous};
use crate::Result;
use crate::autograd::{self, Backward, Forward, Function};
use crate::cuda::headers::COLUMN;
use crate::cuda::{Argument, Kernel, Launch, Source};
use crate::fo_pool::options::{FoPoolOptions, Pooled, Zoneout, pooled};
use crate::profile::{self, Stage};

/// The kernels of fo-pooling.
pub(crate) static FO_POOL: Source = Source {
    name: "fo_pool.cu",
    text: include_str!("../../../kernels/fo_pool.cu"),
    headers: &[COLUMN],
};

/// GROUP of `kernels/fo_pool.cu`: the forward saves the state before every GROUP-th time step.
pub(super) const GROUP: i64 = 4;

impl FoPoolOptions {
    /// The kernels' arguments: zoneout mask, zoneout factor, dropout mask.
    fn arguments(&self) -> [Argument; 3] {
        let (mask, scale) = match &self.zoneout {
            Zoneout::Off => (None, 1.0),
            Zoneout::Scaled(scale) => (None, *scale),
            Zoneout::Masked(mask) => (Some(mask), 1.0),
        };
        [at_or_null(mask), Argument::Float(scale as f32), at_or_null(self.dropout.as_ref())]
    }

    /// Chooses a kernel; each pair is named for f32 and bf16.
    fn kernel(&self, kind: Kind, unmasked: [&'static str; 2], masked: [&'static str; 2]) -> Kernel {
        let names = if matches!(self.zoneout, Zoneout::Masked(_)) { masked } else { unmasked };
        Kernel { source: &FO_POOL, name: names[usize::from(kind == Kind::BFloat16)] }
    }
}

/// Tensors that the forward writes, contiguous.
pub(super) struct Outputs<'a> {
    /// (seq, batch, hidden or more), of the gates' kind.
    pub out: &'a Tensor,
    /// (batch, hidden), Float.
    pub final_state: &'a Tensor,
    /// (ceil(seq / GROUP), batch, hidden), Float: the state before every GROUP-th time step.
    pub saved_states: Option<&'a Tensor>,
}

/// Runs the forward kernel.
///
/// # Safety
/// All tensors are contiguous, on the launcher's device, of the kinds and shapes of [`Outputs`]; gates
/// (seq, batch, 3 hidden or more) are Float or BFloat16, `initial_state` (batch, hidden) is Float.
pub(super) unsafe fn forward(
    launcher: &dyn Launch,
    gates: &Tensor,
    initial_state: &Tensor,
    options: &FoPoolOptions,
    outputs: &Outputs<'_>,
) -> Result<()> {
    let (seq, batch, row) = gates.size3()?;
    let shape = Shape::new(seq, batch, initial_state.size2()?.1)?;
    let kernel = options.kernel(
        gates.kind(),
        ["fo_pool_forward_f32", "fo_pool_forward_bf16"],
        ["fo_pool_forward_zoneout_f32", "fo_pool_forward_zoneout_bf16"],
    );
    let [mask, scale, dropout] = options.arguments();
    let [seq, batch, hidden] = shape.arguments();
    let (out, final_state) = (at(outputs.out), at(outputs.final_state));
    let saved_states = at_or_null(outputs.saved_states);
    let (gates, initial_state) = (at(gates), at(initial_state));
    let (row, out_row) = (shape.row(row)?, shape.row(outputs.out.size3()?.2)?);
    let arguments = &mut [
        gates,
        initial_state,
        mask,
        scale,
        dropout,
        out,
        final_state,
        saved_states,
        seq,
        batch,
        hidden,
        row,
        out_row,
    ];
    // SAFETY: the parameters of fo_pool_forward_* in order, and tensors by this function's contract.
    unsafe { launcher.launch(kernel, shape.geometry()?, arguments) }
}

/// Tensors that the backward reads and writes, contiguous.
pub(super) struct Gradients<'a> {
    /// As [`forward`] wrote them.
    pub saved_states: &'a Tensor,
    /// Read: (seq, batch, hidden or more), of the gates' kind.
    pub out: &'a Tensor,
    /// Read: (batch, hidden), Float.
    pub final_state: Option<&'a Tensor>,
    /// Written: as the gates, with zeros after 3 hidden.
    pub gates: &'a Tensor,
    /// Written: (batch, hidden), Float.
    pub initial_state: &'a Tensor,
}

/// Runs the backward kernel.
///
/// # Safety
/// As [`forward`].
pub(super) unsafe fn backward(
    launcher: &dyn Launch,
    gates: &Tensor,
    options: &FoPoolOptions,
    grads: &Gradients<'_>,
) -> Result<()> {
    let (seq, batch, row) = gates.size3()?;
    let shape = Shape::new(seq, batch, grads.initial_state.size2()?.1)?;
    let kernel = options.kernel(
        gates.kind(),
        ["fo_pool_backward_f32", "fo_pool_backward_bf16"],
        ["fo_pool_backward_zoneout_f32", "fo_pool_backward_zoneout_bf16"],
    );
    let [mask, scale, dropout] = options.arguments();
    let [seq, batch, hidden] = shape.arguments();
    let (saved_states, out) = (at(grads.saved_states), at(grads.out));
    let (final_state, initial_state) = (at_or_null(grads.final_state), at(grads.initial_state));
    let [gates, grad_gates] = [gates, grads.gates].map(at);
    let arguments = &mut [
        gates,
        mask,
        scale,
        dropout,
        saved_states,
        out,
        final_state,
        grad_gates,
        initial_state,
        seq,
        batch,
        hidden,
        shape.row(row)?,
        shape.row(grads.out.size3()?.2)?,
    ];
    // SAFETY: the parameters of fo_pool_backward_* in order, and tensors by the contract.
    unsafe { launcher.launch(kernel, shape.geometry()?, arguments) }
}

/// [`super::fo_pool`] on a GPU, with checked arguments: gates (seq, batch, 3 hidden or more) of kind Float or
/// BFloat16, a Float state. A row of the output has `out_row` elements: the features, then a one and zeros.
pub fn fo_pool(
    launcher: Arc<dyn Launch>,
    gates: &Tensor,
    initial_state: &Tensor,
    options: FoPoolOptions,
    out_row: i64,
) -> Result<Pooled> {
    let saves_states = gates.requires_grad() || initial_state.requires_grad();
    let options = options.contiguous()?;
    let operation = FoPool { launcher, options, saves_states, out_row };
    pooled(autograd::apply(operation, &[gates, initial_state])?)
}

struct FoPool {
    launcher: Arc<dyn Launch>,
    options: FoPoolOptions,
    /// Whether a backward may follow.
    saves_states: bool,
    /// Elements of an output row.
    out_row: i64,
}

impl Function for FoPool {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let (gates, initial_state) = (inputs[0].f_contiguous()?, inputs[1].f_contiguous()?);
        let (seq, _, _) = gates.size3()?;
        let (batch, hidden) = initial_state.size2()?;
        let float = (Kind::Float, gates.device());
        let out = Tensor::f_empty([seq, batch, self.out_row], (gates.kind(), gates.device()))?;
        let final_state = Tensor::f_empty([batch, hidden], float)?;
        let count = (seq + GROUP - 1) / GROUP;
        let saved_states = self
            .saves_states
            .then(|| Tensor::f_empty([count, batch, hidden], float))
            .transpose()?;
        let outputs =
            Outputs { out: &out, final_state: &final_state, saved_states: saved_states.as_ref() };
        let _span = profile::span(Stage::PoolingForward);
        // SAFETY: the tensors were made contiguous or allocated above; kinds and shapes by the contract
        // of `fo_pool`.
        unsafe { forward(&*self.launcher, &gates, &initial_state, &self.options, &outputs)? };
        let saved = saved_states.map_or(vec![], |states| vec![gates, states]);
        Ok(Forward { outputs: vec![out, final_state], saved })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [gates, saved_states] = call.saved else { unreachable!("two tensors were saved") };
        let (seq, batch, _) = gates.size3()?;
        let out = match contiguous(call.grads[0].as_ref())? {
            Some(grad) => grad,
            None => Tensor::f_zeros([seq, batch, self.out_row], (gates.kind(), gates.device()))?,
        };
        let final_state = contiguous(call.grads[1].as_ref())?;
        let grad_gates = gates.f_empty_like()?;
        let size = [batch, saved_states.size3()?.2];
        let grad_state = Tensor::f_empty(size, (Kind::Float, gates.device()))?;
        let grads = Gradients {
            saved_states,
            out: &out,
            final_state: final_state.as_ref(),
            gates: &grad_gates,
            initial_state: &grad_state,
        };
        let _span = profile::span(Stage::PoolingBackward);
        // SAFETY: as in `forward`; gradients have their tensors' kinds and shapes.
        unsafe { backward(&*self.launcher, gates, &self.options, &grads)? };
        Ok(vec![Some(grad_gates), Some(grad_state)])
    }
}
