//! One step: two launches over all tensors.

use tch::{Kind, Tensor};

use super::table::{Entries, MAX_TENSORS, THREADS, entries};
use super::update::AdamUpdate;
use crate::Result;
use crate::cuda::headers::{BLOCK, COLUMN};
use crate::cuda::{Argument, Geometry, Kernel, Launch, Source};
use crate::libtorch::AdamStep;
use crate::profile::{self, Stage};

/// The kernels of gradient norm and update.
pub(crate) static ADAM: Source = Source {
    name: "adam.cu",
    text: include_str!("../../kernels/adam.cu"),
    headers: &[COLUMN, BLOCK],
};

/// Stored in the loss of a step whose gradient norm is not finite; no cross entropy has this value.
pub const BAD_GRADIENT: f64 = f64::NEG_INFINITY;

/// Most blocks of a launch: several per multiprocessor of a large GPU.
pub(super) const MAX_BLOCKS: i64 = 1024;

/// `Settings` of `kernels/adam.cu`.
#[repr(C)]
pub(super) struct Settings {
    lr: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    clip: f64,
}

/// One step of Adam (Kingma and Ba 2015, algorithm 1, with L2 weight decay) and gradient clipping.
/// Changes nothing if the loss or the gradient norm is not finite in this step or in an earlier
/// one. Nothing is copied to the host.
///
/// * `steps`: number of steps taken, a scalar of kind Float, incremented;
/// * `loss`: a scalar of kind Float; set to [`BAD_GRADIENT`] if the gradient norm is not finite;
/// * `healthy`: a scalar of kind Float, initially 1; set to 0 if loss or norm is not finite;
/// * `clip`: maximum norm of all gradients together; 0 disables clipping.
///
/// # Errors
/// [`crate::Error::Torch`] if memory runs out; [`crate::Error::Cuda`] if a kernel cannot be launched.
pub fn adam_step(
    launcher: &dyn Launch,
    updates: &[AdamUpdate<'_>],
    steps: &Tensor,
    (loss, healthy): (&Tensor, &Tensor),
    settings: AdamStep,
    clip: f64,
) -> Result<()> {
    let groups: Vec<Entries> = updates.chunks(MAX_TENSORS).map(entries).collect::<Result<_>>()?;
    let blocks = |group: &Entries| group.chunks.clamp(1, MAX_BLOCKS);
    let all_blocks: i64 = groups.iter().map(blocks).sum();
    let sums = Tensor::f_empty([all_blocks], (Kind::Float, loss.device()))?;
    let pointer = |tensor: &Tensor| Argument::Pointer(tensor.data_ptr());

    let span = profile::span(Stage::GradientNorm);
    let mut first_block = 0;
    for (i, group) in groups.iter().enumerate() {
        let group_sums = sums.f_narrow(0, first_block, blocks(group))?;
        first_block += blocks(group);
        let arguments = &mut [
            Argument::Struct((&raw const *group).cast()),
            pointer(loss),
            pointer(healthy),
            pointer(&group_sums),
            pointer(steps),
            Argument::Int(i32::from(i == 0)),
        ];
        let kernel = Kernel { source: &ADAM, name: "gradient_square_sums" };
        let geometry = Geometry { grid: blocks(group) as u32, block: THREADS };
        // SAFETY: the parameters of the kernel in order; `entries` checked kinds, sizes and strides,
        // and the structs live until the launch has copied them.
        unsafe { launcher.launch(kernel, geometry, arguments)? };
    }
    drop(span);

    let _span = profile::span(Stage::Optimizer);
    let AdamStep { lr, beta1, beta2, eps, weight_decay } = settings;
    let settings = Settings { lr, beta1, beta2, eps, weight_decay, clip };
    for group in &groups {
        let arguments = &mut [
            Argument::Struct((&raw const *group).cast()),
            Argument::Struct((&raw const settings).cast()),
            pointer(loss),
            pointer(healthy),
            pointer(&sums),
            Argument::Int(all_blocks as i32),
            pointer(steps),
        ];
        let kernel = Kernel { source: &ADAM, name: "adam" };
        let geometry = Geometry { grid: blocks(group) as u32, block: THREADS };
        // SAFETY: as above; nothing else writes these tensors meanwhile.
        unsafe { launcher.launch(kernel, geometry, arguments)? };
    }
    Ok(())
}
