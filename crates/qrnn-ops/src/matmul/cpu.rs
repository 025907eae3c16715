//! Matrix products on the CPU: fp32 by the crate `gemm` on torch's threads, or by torch; bf16 by
//! torch, which uses oneDNN.

#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;

use tch::{Device, Kind, Tensor};

use super::precision::Precision;
use super::torch::{Addend, by_torch};
use crate::Result;
use crate::libtorch::parallel_for;

/// Multiplications below which another thread does not pay.
const GRAIN: usize = 1 << 18;

/// Columns of a bf16 product from which a column-major first operand is copied to row-major: oneDNN
/// would copy it for every block of columns. At 1,800 columns this saves a sixth of the time; at
/// 600 it costs time.
const WIDE: i64 = 1024;

/// A thread's share of rows or columns is a multiple of this, the tile size of `gemm`'s kernels.
const UNIT: usize = 48;

/// out = a b + addend, as [`Precision::multiply`].
pub(super) fn multiply(
    precision: Precision,
    out: &Tensor,
    a: &Tensor,
    b: &Tensor,
    addend: Addend<'_>,
) -> Result<()> {
    match precision {
        Precision::Bf16 if Precision::has_bf16() => in_bf16(out, a, b, addend),
        Precision::Single | Precision::Bf16 if gemm_is_faster() => {
            match Gemm::of(out, a, b, addend) {
                Some(gemm) => gemm.run(),
                None => by_torch(out, a, b, addend),
            }
        }
        _ => by_torch(out, a, b, addend),
    }
}

/// Sums are in fp32. The product is rounded to bf16 before it is added to an `out` of another kind.
fn in_bf16(out: &Tensor, a: &Tensor, b: &Tensor, addend: Addend<'_>) -> Result<()> {
    let narrow = |tensor: &Tensor| tensor.f_to_kind(Kind::BFloat16);
    let (mut a, b) = (narrow(a)?, narrow(b)?);
    if a.stride()[1] != 1 && b.size()[1] >= WIDE {
        a = a.f_contiguous()?;
    }
    let bias = match addend {
        Addend::Bias(bias) => Some(narrow(bias)?),
        _ => None,
    };
    let addend = bias.as_ref().map_or(addend, Addend::Bias);
    if out.kind() == Kind::BFloat16 {
        return by_torch(out, &a, &b, addend);
    }
    let (rows, columns) = out.size2()?;
    let product = Tensor::f_empty([rows, columns], (Kind::BFloat16, Device::Cpu))?;
    let mut out = out.shallow_clone();
    if matches!(addend, Addend::Output) {
        by_torch(&product, &a, &b, Addend::Nothing)?;
        let _ = out.f_add_(&product)?;
    } else {
        by_torch(&product, &a, &b, addend)?;
        out.f_copy_(&product)?;
    }
    Ok(())
}

/// Whether `gemm` is faster than torch: MKL takes a slow path on AVX-512 processors that are not
/// from Intel. The choice depends only on the processor, not on a measurement, so that runs are
/// reproducible.
fn gemm_is_faster() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f") && !is_intel();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Asked for once: in a virtual machine, each `cpuid` instruction is a call of the hypervisor. One per product took 4 % of
/// a small model's training.
#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    static IS_INTEL: LazyLock<bool> = LazyLock::new(|| {
        let leaf = std::arch::x86_64::__cpuid(0);
        [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
    });
    *IS_INTEL
}

/// A pointer to a matrix, with its strides in elements.
#[derive(Debug, Clone, Copy)]
struct Matrix {
    start: *mut f32,
    row_stride: isize,
    column_stride: isize,
}

impl Matrix {
    fn of(matrix: &Tensor) -> Self {
        let stride = matrix.stride();
        let (row_stride, column_stride) = (stride[0] as isize, stride[1] as isize);
        Self { start: matrix.data_ptr().cast(), row_stride, column_stride }
    }

    /// The submatrix that starts at this row and column.
    fn from(self, row: usize, column: usize) -> Self {
        let offset = row as isize * self.row_stride + column as isize * self.column_stride;
        Self { start: self.start.wrapping_offset(offset), ..self }
    }

    fn transposed(self) -> Self {
        Self { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }
}

/// out (+)= a b, (rows, columns) = (rows, depth) (depth, columns).
struct Gemm {
    rows: usize,
    depth: usize,
    columns: usize,
    out: Matrix,
    a: Matrix,
    b: Matrix,
    addend: GemmAddend,
}

/// [`Addend`] with a pointer to the bias, (columns).
#[derive(Clone, Copy)]
enum GemmAddend {
    Nothing,
    Output,
    Bias(*const f32),
}

// SAFETY: pointers into tensors that outlive the product; tasks write disjoint parts of `out`.
unsafe impl Sync for Gemm {}

impl Gemm {
    /// `None` if `gemm` does not support the kind, device, strides or shape of a tensor; torch then reports
    /// errors.
    fn of(out: &Tensor, a: &Tensor, b: &Tensor, addend: Addend<'_>) -> Option<Self> {
        let fits = |tensor: &Tensor| tensor.kind() == Kind::Float && tensor.device() == Device::Cpu;
        let (rows, columns) = out.size2().ok()?;
        let depth = a.size2().ok()?.1;
        let addend = match addend {
            Addend::Nothing => GemmAddend::Nothing,
            Addend::Output => GemmAddend::Output,
            Addend::Bias(bias) => {
                let usable = fits(bias) && bias.is_contiguous() && bias.size() == [columns];
                GemmAddend::Bias(usable.then(|| bias.data_ptr().cast_const().cast())?)
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
            out: Matrix::of(out),
            a: Matrix::of(a),
            b: Matrix::of(b),
            addend,
        })
    }

    /// Runs the product on torch's threads, each with a share of the rows or columns.
    fn run(&self) -> Result<()> {
        let (rows, columns) = (self.rows, self.columns);
        let work = rows * columns * self.depth;
        let threads = (tch::get_num_threads().max(1) as usize).min(work.div_ceil(GRAIN)).max(1);
        // Each thread packs the operand that is not divided, so the larger one is divided.
        let by_rows = rows > columns;
        let length = if by_rows { rows } else { columns };
        let share = length.div_ceil(UNIT).div_ceil(threads).max(1) * UNIT;
        parallel_for(length.div_ceil(share), 1, |shares| {
            for i in shares {
                let (first, n) = (i * share, share.min(length - i * share));
                // SAFETY: shares are disjoint and inside the matrices, whose shapes were checked.
                unsafe {
                    if by_rows {
                        self.multiply_part((first, n), (0, columns));
                    } else {
                        self.multiply_part((0, rows), (first, n));
                    }
                }
            }
        })
    }

    /// Computes a part of `out`: each range is its first index and its length.
    ///
    /// # Safety
    /// The ranges lie inside the matrices, and nothing else accesses this part of `out` meanwhile.
    unsafe fn multiply_part(&self, (row, rows): (usize, usize), (column, columns): (usize, usize)) {
        let (out, a, b) = (self.out.from(row, column), self.a.from(row, 0), self.b.from(0, column));
        if let GemmAddend::Bias(bias) = self.addend {
            for i in 0..rows {
                // SAFETY: rows of `out` are contiguous, and bias has as many elements as columns.
                unsafe {
                    let row = out.from(i, 0).start;
                    std::ptr::copy_nonoverlapping(bias.add(column), row, columns);
                }
            }
        }
        // The kernels want contiguous columns, so a product with contiguous rows is computed transposed.
        let (rows, columns, out, a, b) = if out.column_stride < out.row_stride {
            (columns, rows, out.transposed(), b.transposed(), a.transposed())
        } else {
            (rows, columns, out, a, b)
        };
        // SAFETY: by this function's contract; pointers, strides and sizes are those of the tensors.
        unsafe {
            gemm_f32::gemm::f32::get_gemm_fn()(
                rows,
                columns,
                self.depth,
                out.start,
                out.column_stride,
                out.row_stride,
                !matches!(self.addend, GemmAddend::Nothing),
                a.start,
                a.column_stride,
                a.row_stride,
                b.start,
                b.column_stride,
                b.row_stride,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm_common::Parallelism::None,
            );
        }
    }
}
