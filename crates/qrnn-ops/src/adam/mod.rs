//! Adam on a GPU by `kernels/adam.cu`: the gradients' norm, the clip, the update and the copies that
//! the next step's matrix products read, in two launches over all tensors.

use tch::{Device, Kind, Tensor};

use crate::cuda::headers::{BLOCK, COLUMN};
use crate::cuda::{Argument, Geometry, Kernel, Launch, Source, assert_close, test_pattern};
use crate::libtorch::{AdamStep, AdamTensors, fused_adam};
use crate::{Error, Result, profile};

/// The norm and the update.
pub(crate) static ADAM: Source = Source {
    name: "adam.cu",
    text: include_str!("../../kernels/adam.cu"),
    headers: &[COLUMN, BLOCK],
};

/// Stored in the loss of a step whose gradient norm is not finite; no cross entropy has this value.
pub const BAD_GRADIENT: f64 = f64::NEG_INFINITY;

/// ROW_THREADS of `kernels/block.cuh`.
const THREADS: u32 = 256;

/// Blocks of a launch at most: several for each multiprocessor of a large GPU.
const MOST_BLOCKS: i64 = 1024;

/// WIDE of `kernels/adam.cu`: numbers that a thread moves at once.
const WIDE: i64 = 4;

/// MAX_TENSORS of `kernels/adam.cu`.
const MAX_TENSORS: usize = 32;

/// One parameter in a step. All are of the parameter's shape, (rows, columns) or (n), and of kind
/// Float but the copy, which may be of kind BFloat16.
#[derive(Debug)]
pub struct AdamUpdate<'a> {
    /// Contiguous, as both moments; changed in place.
    pub parameter: &'a Tensor,
    /// Numbers of a row side by side.
    pub gradient: &'a Tensor,
    pub first_moment: &'a Tensor,
    pub second_moment: &'a Tensor,
    /// What the matrix products read, written; numbers of a row side by side.
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
    at: [Entry; MAX_TENSORS],
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

/// Takes a step, unless the loss or the gradients' norm is not finite, or was not in a step before.
///
/// * `steps`: steps taken, a scalar of kind Float, counted up;
/// * `loss`: a scalar of kind Float, which is not copied to the host; becomes
///   [`BAD_GRADIENT`] where the norm is not finite;
/// * `healthy`: a scalar of kind Float, 1 at first, and 0 once a step went wrong;
/// * `clip`: bound of the gradients' common norm, 0 for none.
///
/// # Errors
/// [`Error::Torch`] where memory runs out, [`Error::Cuda`] where a kernel cannot be launched.
pub fn adam_step(
    launcher: &dyn Launch,
    updates: &[AdamUpdate<'_>],
    steps: &Tensor,
    (loss, healthy): (&Tensor, &Tensor),
    settings: AdamStep,
    clip: f64,
) -> Result<()> {
    let groups: Vec<Entries> = updates.chunks(MAX_TENSORS).map(entries).collect::<Result<_>>()?;
    let blocks = |group: &Entries| group.chunks.clamp(1, MOST_BLOCKS);
    let all_blocks: i64 = groups.iter().map(blocks).sum();
    let sums = Tensor::f_empty([all_blocks], (Kind::Float, loss.device()))?;
    let pointer = |tensor: &Tensor| Argument::Pointer(tensor.data_ptr());

    let gradients = updates.iter().map(|update| update.gradient);
    let stage = profile::stage("gradient norm").over(gradients.clone());
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
    drop(stage);

    let changed = updates.iter().flat_map(|u| [u.parameter, u.first_moment, u.second_moment]);
    let copies = updates.iter().filter_map(|update| update.copy);
    let moved = changed.clone().chain(changed).chain(gradients).chain(copies);
    let _stage = profile::stage("optimizer").over(moved);
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

/// The kernels' table of some parameters.
fn entries(updates: &[AdamUpdate<'_>]) -> Result<Entries> {
    let nothing = std::ptr::null_mut();
    let empty = Entry {
        parameter: nothing,
        gradient: nothing,
        first_moment: nothing,
        second_moment: nothing,
        copy: nothing,
        size: 0,
        first_chunk: 0,
        columns: 1,
        gradient_row: 1,
        copy_row: 1,
        copy_kind: 0,
        width: 1,
    };
    let mut all = Entries { chunks: 0, count: updates.len() as i32, at: [empty; MAX_TENSORS] };
    for (to, update) in all.at.iter_mut().zip(updates) {
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
    let (Some(of_gradient), Some(of_copy)) = (layout(gradient), copy.map_or(Some((1, 1)), layout))
    else {
        return refused(format!("tensors of shape {size:?} do not lie in rows"));
    };
    let copy_kind = match copy.map(Tensor::kind) {
        None => 0,
        Some(Kind::Float) => 1,
        Some(Kind::BFloat16) => 2,
        Some(kind) => return refused(format!("a copy is of kind {kind:?}")),
    };
    let float = [*parameter, gradient, first_moment, second_moment];
    let contiguous = [*parameter, first_moment, second_moment];
    if float.iter().any(|tensor| tensor.kind() != Kind::Float)
        || contiguous.iter().any(|tensor| !tensor.is_contiguous() || tensor.size() != size)
    {
        return refused("parameters, moments and gradients must be Float, and contiguous".into());
    }
    // A vector is one row if its numbers are side by side everywhere, else a column.
    let n = parameter.numel() as i64;
    let (columns, gradient_row, copy_row) = match (size.as_slice(), of_gradient, of_copy) {
        (&[_, columns], (_, gradient_row), (_, copy_row)) => {
            (columns, gradient_row, if copy_kind == 0 { columns } else { copy_row })
        }
        (_, (1, _), (1, _)) => (n, n, n),
        (_, (gradient_step, _), (copy_step, _)) => (1, gradient_step, copy_step),
    };
    // Rows that follow each other without a gap are one.
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
        return refused(format!("rows of {size:?} are longer than the kernel counts to"));
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

/// Of a vector the distance of its numbers, and of a matrix that of its rows: (numbers, rows). `None`
/// where a matrix's numbers do not lie side by side, or there are more dimensions.
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

/// A small step with a clip and copies, held against libtorch's on the CPU.
///
/// # Errors
/// [`Error::Unavailable`] where they disagree.
pub fn self_test(launcher: &dyn Launch, device: Device) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let settings = AdamStep { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 };
    let (clip, steps_taken) = (0.25, 3.0f32);
    // A matrix with its bias beside it in the gradient and the copy, and one by itself.
    let shapes: [&[i64]; 3] = [&[37, 12], &[37], &[5, 400]];
    let given = |at: usize, n: usize| test_pattern(shapes[at], 0.5 + n as f64);
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
    let (mut ours, mut theirs) = (vec![], vec![]);
    for (at, gradient) in gradients.iter().enumerate() {
        gradient.shallow_clone().f_copy_(&given(at, 0)?)?;
        let all = [given(at, 1)?, given(at, 2)?, given(at, 3)?.f_square()?];
        ours.push([
            all[0].f_to_device(device)?,
            all[1].f_to_device(device)?,
            all[2].f_to_device(device)?,
        ]);
        let all = [all[0].f_detach_copy()?, all[1].f_detach_copy()?, all[2].f_detach_copy()?];
        theirs.push((all, given(at, 0)?, Tensor::f_from_slice(&[steps_taken])?.f_squeeze()?));
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

    let squares = theirs.iter().map(|(_, gradient, _)| gradient.f_square()?.f_sum(Kind::Double));
    let square: f64 = squares.map(|sum| sum?.f_double_value(&[])).sum::<Result<f64, _>>()?;
    let inverse = Tensor::f_from_slice(&[((square.sqrt() + 1e-6) / clip).max(1.0) as f32])?;
    let tensors: Vec<_> = theirs
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
    for (at, (ours, (theirs, ..))) in ours.iter().zip(&theirs).enumerate() {
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_close("step of Adam", ours, theirs, 1e-5)?;
        }
        if let Some(copy) = &copies[at] {
            assert_close("rounding of the weights", copy, &theirs[0], 1e-2)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
