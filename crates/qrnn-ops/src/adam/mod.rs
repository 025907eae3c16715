//! Adam on a GPU by `kernels/adam.cu`: gradient norm, clipping, update, and copies of the
//! parameters for the next step's matrix products, in two launches over all tensors.

use tch::{Device, Kind, Tensor};

use crate::cuda::headers::{BLOCK, COLUMN};
use crate::cuda::{Argument, Geometry, Kernel, Launch, Source, assert_close, test_pattern};
use crate::libtorch::{AdamStep, AdamTensors, fused_adam};
use crate::profile::{self, Stage};
use crate::{Error, Result};

/// The kernels of gradient norm and update.
pub(crate) static ADAM: Source = Source {
    name: "adam.cu",
    text: include_str!("../../kernels/adam.cu"),
    headers: &[COLUMN, BLOCK],
};

/// Stored in the loss of a step whose gradient norm is not finite; no cross entropy has this value.
pub const BAD_GRADIENT: f64 = f64::NEG_INFINITY;

/// THREADS of `kernels/adam.cu`.
const THREADS: u32 = 256;

/// Most blocks of a launch: several per multiprocessor of a large GPU.
const MAX_BLOCKS: i64 = 1024;

/// WIDE of `kernels/adam.cu`: elements of a vector access.
const WIDE: i64 = 4;

/// MAX_TENSORS of `kernels/adam.cu`.
const MAX_TENSORS: usize = 32;

/// The tensors of one parameter in a step. All have the parameter's shape, (rows, columns) or (n), and kind
/// Float; the copy may be BFloat16.
#[derive(Debug)]
pub struct AdamUpdate<'a> {
    /// Contiguous, like both moments; updated in place.
    pub parameter: &'a Tensor,
    /// With contiguous rows.
    pub gradient: &'a Tensor,
    /// Updated in place.
    pub first_moment: &'a Tensor,
    /// Updated in place.
    pub second_moment: &'a Tensor,
    /// A copy of the parameter for matrix products, overwritten; with contiguous rows.
    pub copy: Option<&'a Tensor>,
}

/// `Tensor` of `kernels/adam.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Entry {
    parameter: *mut std::ffi::c_void,
    gradient: *mut std::ffi::c_void,
    first_moment: *mut std::ffi::c_void,
    second_moment: *mut std::ffi::c_void,
    copy: *mut std::ffi::c_void,
    size: i64,
    first_chunk: i64,
    columns: i64,
    gradient_row: i32,
    copy_row: i32,
    copy_kind: i32,
    width: i32,
}

/// `Tensors` of `kernels/adam.cu`.
#[repr(C)]
struct Entries {
    chunks: i64,
    count: i32,
    tensors: [Entry; MAX_TENSORS],
}

/// `Settings` of `kernels/adam.cu`.
#[repr(C)]
struct Settings {
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
/// [`Error::Torch`] if memory runs out; [`Error::Cuda`] if a kernel cannot be launched.
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

/// The kernels' table of at most MAX_TENSORS parameters.
fn entries(updates: &[AdamUpdate<'_>]) -> Result<Entries> {
    let null = std::ptr::null_mut();
    let empty = Entry {
        parameter: null,
        gradient: null,
        first_moment: null,
        second_moment: null,
        copy: null,
        size: 0,
        first_chunk: 0,
        columns: 1,
        gradient_row: 1,
        copy_row: 1,
        copy_kind: 0,
        width: 1,
    };
    let mut all = Entries { chunks: 0, count: updates.len() as i32, tensors: [empty; MAX_TENSORS] };
    for (to, update) in all.tensors.iter_mut().zip(updates) {
        *to = Entry { first_chunk: all.chunks, ..entry(update)? };
        let packs = to.size as u64 / to.width as u64;
        all.chunks += packs.div_ceil(u64::from(THREADS)) as i64;
    }
    Ok(all)
}

fn entry(update: &AdamUpdate<'_>) -> Result<Entry> {
    let AdamUpdate { parameter, gradient, first_moment, second_moment, copy } = update;
    let size = parameter.size();
    let layout = |tensor: &Tensor| rows(tensor).filter(|_| tensor.size() == size);
    let (Some(gradient_layout), Some(copy_layout)) =
        (layout(gradient), copy.map_or(Some((1, 1)), layout))
    else {
        return refused(format!("tensors of shape {size:?} do not have contiguous rows"));
    };
    let copy_kind = match copy.map(Tensor::kind) {
        None => 0,
        Some(Kind::Float) => 1,
        Some(Kind::BFloat16) => 2,
        Some(kind) => return refused(format!("a copy has kind {kind:?}")),
    };
    let float = [*parameter, gradient, first_moment, second_moment];
    let contiguous = [*parameter, first_moment, second_moment];
    if float.iter().any(|tensor| tensor.kind() != Kind::Float)
        || contiguous.iter().any(|tensor| !tensor.is_contiguous() || tensor.size() != size)
    {
        return refused("parameters, moments and gradients must be Float, and contiguous".into());
    }
    // A vector is one row if all its tensors are contiguous, otherwise a column.
    let n = parameter.numel() as i64;
    let (columns, gradient_row, copy_row) = match (size.as_slice(), gradient_layout, copy_layout) {
        (&[_, columns], (_, gradient_row), (_, copy_row)) => {
            (columns, gradient_row, if copy_kind == 0 { columns } else { copy_row })
        }
        (_, (1, _), (1, _)) => (n, n, n),
        (_, (gradient_step, _), (copy_step, _)) => (1, gradient_step, copy_step),
    };
    // Contiguous rows are merged into one.
    let columns = if gradient_row == columns && copy_row == columns { n } else { columns };
    let aligned = |tensor: &Tensor, row: i64| {
        let bytes = WIDE as usize * tensor.kind().elt_size_in_bytes();
        (tensor.data_ptr() as usize).is_multiple_of(bytes) && (row % WIDE == 0 || columns == n)
    };
    let wide = columns % WIDE == 0
        && contiguous.iter().all(|tensor| aligned(tensor, columns))
        && aligned(gradient, gradient_row)
        && copy.is_none_or(|copy| aligned(copy, copy_row));
    let [gradient_row, copy_row] = [gradient_row, copy_row].map(i32::try_from);
    let (Ok(gradient_row), Ok(copy_row)) = (gradient_row, copy_row) else {
        return refused(format!("row strides of {size:?} do not fit in 32-bit integers"));
    };
    Ok(Entry {
        parameter: parameter.data_ptr(),
        gradient: gradient.data_ptr(),
        first_moment: first_moment.data_ptr(),
        second_moment: second_moment.data_ptr(),
        copy: copy.map_or(std::ptr::null_mut(), Tensor::data_ptr),
        size: n,
        first_chunk: 0,
        columns: columns.max(1),
        gradient_row,
        copy_row,
        copy_kind,
        width: if wide { WIDE as i32 } else { 1 },
    })
}

/// Strides of elements and of rows; a vector is one row. `None` if a matrix's rows are not
/// contiguous, or there are more dimensions.
fn rows(tensor: &Tensor) -> Option<(i64, i64)> {
    match (tensor.size().as_slice(), tensor.stride().as_slice()) {
        (&[n], &[stride]) => Some((if n > 1 { stride } else { 1 }, n)),
        (&[_, columns], &[row, stride]) => (stride == 1 || columns == 1).then_some((stride, row)),
        _ => None,
    }
}

fn refused<T>(problem: String) -> Result<T> {
    Err(Error::shape("Adam on a GPU", problem, "report this with the model's configuration"))
}

/// Compares a small step with clipping and copies with libtorch on the CPU.
///
/// # Errors
/// [`Error::Unavailable`] if they differ.
pub fn self_test(launcher: &dyn Launch, device: Device) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let settings = AdamStep { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 };
    let (clip, steps_taken) = (0.25, 3.0f32);
    // A matrix whose bias is a column of its gradient and copy, the bias, and a separate matrix.
    let shapes: [&[i64]; 3] = [&[37, 12], &[37], &[5, 400]];
    let pattern = |i: usize, n: usize| test_pattern(shapes[i], 0.5 + n as f64);
    let [gradient, copy] =
        [Kind::Float, Kind::BFloat16].map(|kind| Tensor::f_zeros([37, 16], (kind, device)));
    let (gradient, copy) = (gradient?, copy?);
    let views = |all: &Tensor| -> Result<[Tensor; 2]> {
        Ok([all.f_narrow(1, 0, 12)?, all.f_select(1, 12)?])
    };
    let [weight, bias] = views(&gradient)?;
    let gradients = [weight, bias, Tensor::f_zeros(shapes[2], (Kind::Float, device))?];
    let [weight_copy, bias_copy] = views(&copy)?;
    let copies = [Some(weight_copy), Some(bias_copy), None];
    let (mut ours, mut expected) = (vec![], vec![]);
    for (i, gradient) in gradients.iter().enumerate() {
        gradient.shallow_clone().f_copy_(&pattern(i, 0)?)?;
        let all = [pattern(i, 1)?, pattern(i, 2)?, pattern(i, 3)?.f_square()?];
        ours.push([
            all[0].f_to_device(device)?,
            all[1].f_to_device(device)?,
            all[2].f_to_device(device)?,
        ]);
        let all = [all[0].f_detach_copy()?, all[1].f_detach_copy()?, all[2].f_detach_copy()?];
        expected.push((all, pattern(i, 0)?, Tensor::f_from_slice(&[steps_taken])?.f_squeeze()?));
    }
    let updates: Vec<_> = ours
        .iter()
        .zip(&gradients)
        .zip(&copies)
        .map(|(([parameter, first_moment, second_moment], gradient), copy)| AdamUpdate {
            parameter,
            gradient,
            first_moment,
            second_moment,
            copy: copy.as_ref(),
        })
        .collect();
    let scalar = |x: f32| Tensor::f_from_slice(&[x])?.f_squeeze()?.f_to_device(device);
    let (loss, healthy) = (scalar(1.0)?, scalar(1.0)?);
    adam_step(launcher, &updates, &scalar(steps_taken)?, (&loss, &healthy), settings, clip)?;

    let squares = expected.iter().map(|(_, gradient, _)| gradient.f_square()?.f_sum(Kind::Double));
    let square: f64 = squares.map(|sum| sum?.f_double_value(&[])).sum::<Result<f64, _>>()?;
    let inverse = Tensor::f_from_slice(&[((square.sqrt() + 1e-6) / clip).max(1.0) as f32])?;
    let tensors: Vec<_> = expected
        .iter()
        .map(|([parameter, exp_avg, exp_avg_sq], grad, step)| AdamTensors {
            parameter,
            grad,
            exp_avg,
            exp_avg_sq,
            step,
        })
        .collect();
    fused_adam(&tensors, settings, Some(&inverse.f_squeeze()?), None)?;
    for (i, (ours, (expected, ..))) in ours.iter().zip(&expected).enumerate() {
        for (ours, expected) in ours.iter().zip(expected) {
            assert_close("step of Adam", ours, expected, 1e-5)?;
        }
        if let Some(copy) = &copies[i] {
            assert_close("rounding of the weights", copy, &expected[0], 1e-2)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
