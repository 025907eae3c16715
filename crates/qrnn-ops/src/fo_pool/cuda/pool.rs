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

/// STEPS of `kernels/column.cuh`: the forward saves the state before every STEPS-th time step.
pub(super) const STEPS: i64 = 8;

/// The stride, in elements, of the rows of gates (seq, batch, 3 hidden); `None` if it is not the same for
/// all rows, or a row is not contiguous.
pub(super) fn row_stride(gates: &Tensor) -> Option<i64> {
    let ([seq, batch, width], [step_stride, batch_stride, 1]) =
        (<[i64; 3]>::try_from(gates.size()).ok()?, <[i64; 3]>::try_from(gates.stride()).ok()?)
    else {
        return None;
    };
    // The stride of a dimension of size 1 has no meaning.
    let row = match (seq, batch) {
        (1, 1) => width,
        (_, 1) => step_stride,
        _ => batch_stride,
    };
    (row >= width && (seq == 1 || step_stride == batch * row)).then_some(row)
}

/// Gates with one stride for all rows, copied if necessary, and that stride.
fn with_row_stride(gates: &Tensor) -> Result<(Tensor, i64)> {
    match row_stride(gates) {
        Some(row) => Ok((gates.shallow_clone(), row)),
        None => Ok((gates.f_contiguous()?, gates.size3()?.2)),
    }
}

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
    /// (ceil(seq / STEPS), batch, hidden), Float: the state before every STEPS-th time step.
    pub saved_states: Option<&'a Tensor>,
}

/// Runs the forward kernel.
///
/// # Safety
/// All tensors are contiguous, on the launcher's device, of the kinds and shapes of [`Outputs`]; gates
/// (seq, batch, 3 hidden) are Float or BFloat16 with row stride `row`, `initial_state` (batch, hidden)
/// is Float.
pub(super) unsafe fn forward(
    launcher: &dyn Launch,
    (gates, row): (&Tensor, i64),
    initial_state: &Tensor,
    options: &FoPoolOptions,
    outputs: &Outputs<'_>,
) -> Result<()> {
    let (seq, batch, width) = gates.size3()?;
    let shape = Shape::new(seq, batch, width / 3)?;
    let kernel = options.kernel(
        gates.kind(),
        ["fo_pool_forward_f32", "fo_pool_forward_bf16"],
        ["fo_pool_forward_zoneout_f32", "fo_pool_forward_zoneout_bf16"],
    );
    let [mask, scale, dropout] = options.arguments();
    let [seq, batch, hidden] = shape.arguments();
    let (out, final_state) = (at(outputs.out), at(outputs.final_state));
    let saved_states = at_or_null(outputs.saved_states);
    let (gates, initial_state) = (Argument::Pointer(gates.data_ptr()), at(initial_state));
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

/// Tensors that the backward reads and writes, contiguous except `gates`.
pub(super) struct Gradients<'a> {
    /// As [`forward`] wrote them.
    pub saved_states: &'a Tensor,
    /// Read: (seq, batch, hidden or more), of the gates' kind.
    pub out: &'a Tensor,
    /// Read: (batch, hidden), Float.
    pub final_state: Option<&'a Tensor>,
    /// Written: (seq, batch, 3 hidden), of the gates' kind and strides.
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
    (gates, row): (&Tensor, i64),
    options: &FoPoolOptions,
    grads: &Gradients<'_>,
) -> Result<()> {
    let (seq, batch, width) = gates.size3()?;
    let shape = Shape::new(seq, batch, width / 3)?;
    let kernel = options.kernel(
        gates.kind(),
        ["fo_pool_backward_f32", "fo_pool_backward_bf16"],
        ["fo_pool_backward_zoneout_f32", "fo_pool_backward_zoneout_bf16"],
    );
    let [mask, scale, dropout] = options.arguments();
    let [seq, batch, hidden] = shape.arguments();
    let (saved_states, out) = (at(grads.saved_states), at(grads.out));
    let (final_state, initial_state) = (at_or_null(grads.final_state), at(grads.initial_state));
    let [gates, grad_gates] = [gates, grads.gates].map(|t| Argument::Pointer(t.data_ptr()));
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

/// [`super::fo_pool`] on a GPU, with checked arguments: gates of kind Float or BFloat16, a Float state. A
/// row of the output has `out_row` elements: the features, then a one and zeros.
pub fn fo_pool(
    launcher: Arc<dyn Launch>,
    gates: &Tensor,
    initial_state: &Tensor,
    options: FoPoolOptions,
    out_row: i64,
) -> Result<Pooled> {
    let saves_states = gates.requires_grad() || initial_state.requires_grad();
    let options = options.contiguous()?;
    let operation = FoPool { launcher, options, saves_states, row: 0, out_row };
    pooled(autograd::apply(operation, &[gates, initial_state])?)
}

struct FoPool {
    launcher: Arc<dyn Launch>,
    options: FoPoolOptions,
    /// Whether a backward may follow.
    saves_states: bool,
    /// Row stride of the gates; set by the forward.
    row: i64,
    /// Row stride of the output.
    out_row: i64,
}

impl Function for FoPool {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let (gates, row) = with_row_stride(inputs[0])?;
        let initial_state = inputs[1].f_contiguous()?;
        self.row = row;
        let (seq, batch, width) = gates.size3()?;
        let (hidden, float) = (width / 3, (Kind::Float, gates.device()));
        let out = Tensor::f_empty([seq, batch, self.out_row], (gates.kind(), gates.device()))?;
        let final_state = Tensor::f_empty([batch, hidden], float)?;
        let count = (seq + STEPS - 1) / STEPS;
        let saved_states = self
            .saves_states
            .then(|| Tensor::f_empty([count, batch, hidden], float))
            .transpose()?;
        let outputs =
            Outputs { out: &out, final_state: &final_state, saved_states: saved_states.as_ref() };
        let _span = profile::span(Stage::PoolingForward);
        // SAFETY: the tensors were made contiguous or allocated above; kinds and shapes by the contract
        // of `fo_pool`.
        unsafe {
            forward(&*self.launcher, (&gates, row), &initial_state, &self.options, &outputs)?
        };
        let saved = saved_states.map_or(vec![], |states| vec![gates, states]);
        Ok(Forward { outputs: vec![out, final_state], saved })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [gates, saved_states] = call.saved else { unreachable!("two tensors were saved") };
        let (seq, batch, width) = gates.size3()?;
        let out = match contiguous(call.grads[0].as_ref())? {
            Some(grad) => grad,
            None => Tensor::f_zeros([seq, batch, self.out_row], (gates.kind(), gates.device()))?,
        };
        let final_state = contiguous(call.grads[1].as_ref())?;
        let like_gates = (gates.kind(), gates.device());
        let grad_gates = Tensor::f_empty_strided(gates.size(), gates.stride(), like_gates)?;
        let grad_state = Tensor::f_empty([batch, width / 3], (Kind::Float, gates.device()))?;
        let grads = Gradients {
            saved_states,
            out: &out,
            final_state: final_state.as_ref(),
            gates: &grad_gates,
            initial_state: &grad_state,
        };
        let _span = profile::span(Stage::PoolingBackward);
        // SAFETY: as in `forward`; gradients have their tensors' kinds and shapes.
        unsafe { backward(&*self.launcher, (gates, self.row), &self.options, &grads)? };
        Ok(vec![Some(grad_gates), Some(grad_state)])
    }
}
