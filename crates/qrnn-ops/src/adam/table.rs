//! The kernels' table of the tensors of a step.

use tch::{Kind, Tensor};

use super::update::{AdamUpdate, CopyRounding};
use crate::{Error, Result};

/// THREADS of `kernels/adam.cu`.
pub(super) const THREADS: u32 = 256;

/// WIDE of `kernels/adam.cu`: elements of a vector access.
pub(super) const WIDE: i64 = 4;

/// MAX_TENSORS of `kernels/adam.cu`.
pub(super) const MAX_TENSORS: usize = 32;

/// `Tensor` of `kernels/adam.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Entry {
    parameter: *mut std::ffi::c_void,
    gradient: *mut std::ffi::c_void,
    first_moment: *mut std::ffi::c_void,
    second_moment: *mut std::ffi::c_void,
    copy: *mut std::ffi::c_void,
    mask: *const std::ffi::c_void,
    scales: *const std::ffi::c_void,
    size: i64,
    first_chunk: i64,
    columns: i64,
    gradient_row: i32,
    copy_row: i32,
    copy_kind: i32,
    width: i32,
    scale_step: i32,
    largest: i32,
}

/// `Tensors` of `kernels/adam.cu`.
#[repr(C)]
pub(super) struct Entries {
    pub chunks: i64,
    count: i32,
    tensors: [Entry; MAX_TENSORS],
}

/// The kernels' table of at most MAX_TENSORS parameters.
pub(super) fn entries(updates: &[AdamUpdate<'_>]) -> Result<Entries> {
    let null = std::ptr::null_mut();
    let empty = Entry {
        parameter: null,
        gradient: null,
        first_moment: null,
        second_moment: null,
        copy: null,
        mask: null,
        scales: null,
        size: 0,
        first_chunk: 0,
        columns: 1,
        gradient_row: 1,
        copy_row: 1,
        copy_kind: 0,
        width: 1,
        scale_step: 0,
        largest: 0,
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
    let AdamUpdate { parameter, gradient, first_moment, second_moment, copy, mask, rounding } =
        update;
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
    if mask.is_some_and(|mask| {
        mask.kind() != Kind::Uint8 || !mask.is_contiguous() || mask.size() != size
    }) {
        return refused(format!("a mask must be Uint8, contiguous and of shape {size:?}"));
    }
    // Without a copy nothing is rounded.
    let grid = rounding.filter(|_| copy.is_some()).map(|rounding| grid(rounding, &size));
    let (scales, scale_step, largest) = grid.transpose()?.unwrap_or((std::ptr::null(), 0, 0));
    // A vector is one row if all its tensors are contiguous, otherwise a column.
    let n = parameter.numel() as i64;
    let (columns, gradient_row, copy_row) = match (size.as_slice(), gradient_layout, copy_layout) {
        (&[_, columns], (_, gradient_row), (_, copy_row)) => {
            (columns, gradient_row, if copy_kind == 0 { columns } else { copy_row })
        }
        (_, (1, _), (1, _)) => (n, n, n),
        (_, (gradient_step, _), (copy_step, _)) => (1, gradient_step, copy_step),
    };
    // Contiguous rows are merged into one, unless each has a scale.
    let merges = gradient_row == columns && copy_row == columns && scale_step == 0;
    let columns = if merges { n } else { columns };
    let aligned = |tensor: &Tensor, row: i64| {
        let bytes = WIDE as usize * tensor.kind().elt_size_in_bytes();
        (tensor.data_ptr() as usize).is_multiple_of(bytes) && (row % WIDE == 0 || columns == n)
    };
    let wide = columns % WIDE == 0
        && contiguous.iter().all(|tensor| aligned(tensor, columns))
        && aligned(gradient, gradient_row)
        && copy.is_none_or(|copy| aligned(copy, copy_row))
        && mask.is_none_or(|mask| aligned(mask, columns));
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
        mask: mask.map_or(std::ptr::null(), |mask| mask.data_ptr().cast_const()),
        scales,
        size: n,
        first_chunk: 0,
        columns: columns.max(1),
        gradient_row,
        copy_row,
        copy_kind,
        width: if wide { WIDE as i32 } else { 1 },
        scale_step,
        largest,
    })
}

/// The scales of a copy of this shape, their number from one row to the next, and the largest integer.
fn grid(rounding: CopyRounding<'_>, size: &[i64]) -> Result<(*const std::ffi::c_void, i32, i32)> {
    let CopyRounding { scales, largest } = rounding;
    let per_row = match (scales.size().as_slice(), size) {
        (&[1], _) => false,
        (&[scales], &[rows, _]) if scales == rows => true,
        (scales, _) => {
            return refused(format!("scales of shape {scales:?} for a copy of {size:?}"));
        }
    };
    if scales.kind() != Kind::Float || !scales.is_contiguous() || largest < 1 {
        return refused(format!("scales must be Float and contiguous, and {largest} positive"));
    }
    Ok((scales.data_ptr().cast_const(), i32::from(per_row), largest))
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
