//! Matrix products on the CPU: in single precision by the crate `gemm` on torch's threads, with bf16
//! operands by torch, whose products of that kind are oneDNN's.

use tch::{Device, Kind, Tensor};

use super::precision::Precision;
use super::torch::{Added, by_torch};
use crate::Result;
use crate::libtorch::parallel_for;

/// Multiplications worth a thread of their own.
const GRAIN: usize = 1 << 18;

/// Columns of a bf16 product from which on a first factor whose columns lie side by side is laid out anew
/// first: oneDNN does that for every block of the result's columns. At 1,800 columns the product with
/// the copy takes a sixth less time, at 600 more.
const WIDE: i64 = 1024;

/// Rows or columns that a thread's share is a multiple of: those of the innermost kernels.
const UNIT: usize = 48;

/// out = a b + added, as [`Precision::multiply`].
pub(super) fn multiply(
    precision: Precision,
    out: &Tensor,
    a: &Tensor,
    b: &Tensor,
    added: Added<'_>,
) -> Result<()> {
    match precision {
        Precision::Bf16 if Precision::has_bf16() => in_bf16(out, a, b, added),
        Precision::Single | Precision::Bf16 if gemm_is_faster() => {
            match Job::of(out, a, b, added) {
                Some(job) => job.run(),
                None => by_torch(out, a, b, added),
            }
        }
        _ => by_torch(out, a, b, added),
    }
}

/// Sums are in single precision; what leaves the product is rounded to bf16, and only then added to
/// an `out` of another kind.
fn in_bf16(out: &Tensor, a: &Tensor, b: &Tensor, added: Added<'_>) -> Result<()> {
    let narrow = |tensor: &Tensor| tensor.f_to_kind(Kind::BFloat16);
    let (mut a, b) = (narrow(a)?, narrow(b)?);
    if a.stride()[1] != 1 && b.size()[1] >= WIDE {
        a = a.f_contiguous()?;
    }
    let bias = match added {
        Added::Bias(bias) => Some(narrow(bias)?),
        _ => None,
    };
    let added = bias.as_ref().map_or(added, Added::Bias);
    if out.kind() == Kind::BFloat16 {
        return by_torch(out, &a, &b, added);
    }
    let (rows, columns) = out.size2()?;
    let product = Tensor::f_empty([rows, columns], (Kind::BFloat16, Device::Cpu))?;
    let mut out = out.shallow_clone();
    if matches!(added, Added::Itself) {
        by_torch(&product, &a, &b, Added::Nothing)?;
        let _ = out.f_add_(&product)?;
    } else {
        by_torch(&product, &a, &b, added)?;
        out.f_copy_(&product)?;
    }
    Ok(())
}

/// Whether `gemm` is the faster one here, as it was where it was measured: on processors with AVX-512
/// that are not Intel's torch's products, MKL's, take a slow path. The choice depends on the processor
/// alone and never on a measurement, so that a run repeats to the bit.
fn gemm_is_faster() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f") && !is_intel();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
}

/// Where a matrix lies: the first number, and numbers from a row and a column to the next.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: *mut f32,
    row_stride: isize,
    column_stride: isize,
}

impl Place {
    fn of(matrix: &Tensor) -> Self {
        let stride = matrix.stride();
        let (row_stride, column_stride) = (stride[0] as isize, stride[1] as isize);
        Self { at: matrix.data_ptr().cast(), row_stride, column_stride }
    }

    fn from(self, row: usize, column: usize) -> Self {
        let at = row as isize * self.row_stride + column as isize * self.column_stride;
        Self { at: self.at.wrapping_offset(at), ..self }
    }
}

/// out (+)= a b, (rows, columns) = (rows, depth) (depth, columns).
struct Job {
    rows: usize,
    depth: usize,
    columns: usize,
    out: Place,
    a: Place,
    b: Place,
    onto: Onto,
}

/// What the sums are added to.
#[derive(Clone, Copy)]
enum Onto {
    Nothing,
    Itself,
    /// One number a column.
    Bias(*const f32),
}

// SAFETY: pointers into tensors that outlive the product; tasks write disjoint parts of `out`.
unsafe impl Sync for Job {}

impl Job {
    /// `None` where a tensor is not of a kind, place or shape that can be taken; torch then says why.
    fn of(out: &Tensor, a: &Tensor, b: &Tensor, added: Added<'_>) -> Option<Self> {
        let fits = |tensor: &Tensor| tensor.kind() == Kind::Float && tensor.device() == Device::Cpu;
        let (rows, columns) = out.size2().ok()?;
        let depth = a.size2().ok()?.1;
        let onto = match added {
            Added::Nothing => Onto::Nothing,
            Added::Itself => Onto::Itself,
            Added::Bias(bias) => {
                let usable = fits(bias) && bias.is_contiguous() && bias.size() == [columns];
                Onto::Bias(usable.then(|| bias.data_ptr().cast_const().cast())?)
            }
        };
        let usable = [out, a, b].into_iter().all(fits)
            && a.size() == [rows, depth]
            && b.size() == [depth, columns]
            && (columns <= 1 || out.stride()[1] == 1);
        usable.then(|| Self {
            rows: rows as usize,
            depth: depth as usize,
            columns: columns as usize,
            out: Place::of(out),
            a: Place::of(a),
            b: Place::of(b),
            onto,
        })
    }

    /// Runs it on torch's threads, each with a share of the rows or columns.
    fn run(&self) -> Result<()> {
        let (rows, columns) = (self.rows, self.columns);
        let work = rows * columns * self.depth;
        let threads = (tch::get_num_threads().max(1) as usize).min(work.div_ceil(GRAIN)).max(1);
        // Each thread packs all of the operand that is not divided: the smaller one.
        let by_rows = rows > columns;
        let length = if by_rows { rows } else { columns };
        let share = length.div_ceil(UNIT).div_ceil(threads).max(1) * UNIT;
        parallel_for(length.div_ceil(share), 1, |parts| {
            for part in parts {
                let (first, n) = (part * share, share.min(length - part * share));
                // SAFETY: parts are disjoint and inside the matrices, whose shapes were checked.
                unsafe {
                    if by_rows {
                        self.part((first, n), (0, columns));
                    } else {
                        self.part((0, rows), (first, n));
                    }
                }
            }
        })
    }

    /// # Safety
    /// Rows and columns, each the first and a number, lie inside, and nobody else touches this part of
    /// `out` meanwhile.
    unsafe fn part(&self, (row, rows): (usize, usize), (column, columns): (usize, usize)) {
        let (out, a, b) = (self.out.from(row, column), self.a.from(row, 0), self.b.from(0, column));
        if let Onto::Bias(bias) = self.onto {
            for i in 0..rows {
                // SAFETY: the columns of a row of `out` lie side by side, and bias has as many.
                unsafe {
                    let to = out.from(i, 0).at;
                    std::ptr::copy_nonoverlapping(bias.add(column), to, columns);
                }
            }
        }
        // SAFETY: by this function's contract; `gemm` reads a and b and writes `out` where the strides
        // say.
        unsafe {
            gemm::gemm(
                rows,
                columns,
                self.depth,
                out.at,
                out.column_stride,
                out.row_stride,
                !matches!(self.onto, Onto::Nothing),
                a.at,
                a.column_stride,
                a.row_stride,
                b.at,
                b.column_stride,
                b.row_stride,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}
