//! fo-pooling on the CPU: threads share out (column, stretch of features) pairs, and each walks
//! its own through time with the state in the first-level cache.

use std::ops::Range;

use tch::Tensor;

use super::rows::{GateRows, KeepRow, PoolReal};
use crate::Result;
use crate::libtorch::parallel_for;

/// Features a task takes along: small enough that its rows stay in the first-level cache.
const STRETCH: usize = 512;

/// Feature-steps worth a thread of their own.
const GRAIN: usize = 8192;

/// Sequence length, columns and features.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub seq: usize,
    pub batch: usize,
    pub hidden: usize,
}

impl Sizes {
    fn stretches(self) -> usize {
        self.hidden.div_ceil(STRETCH)
    }

    /// Runs `task(column, features)` for all of them, on all threads.
    pub fn for_each(self, task: impl Fn(usize, Range<usize>) + Sync) -> Result<()> {
        let stretches = self.stretches();
        let grain = GRAIN.div_ceil((self.seq * self.hidden.min(STRETCH)).max(1));
        parallel_for(self.batch * stretches, grain, |tasks| {
            for i in tasks {
                let (column, first) = (i / stretches, i % stretches * STRETCH);
                task(column, first..(first + STRETCH).min(self.hidden));
            }
        })
    }
}

/// Rows of a contiguous (seq, batch, width) or (batch, width) tensor, handed to many tasks at once.
#[derive(Clone, Copy)]
pub(super) struct Rows<R> {
    at: *mut R,
    batch: usize,
    width: usize,
}

// SAFETY: a pointer into a tensor that outlives the kernel; tasks touch disjoint features.
unsafe impl<R> Send for Rows<R> {}
// SAFETY: as above.
unsafe impl<R> Sync for Rows<R> {}

impl<R: PoolReal> Rows<R> {
    /// `tensor` is contiguous, on the CPU, of kind R, and its last dimension is the width.
    pub fn new(tensor: &Tensor, batch: usize, width: usize) -> Self {
        debug_assert!(tensor.is_contiguous() && tensor.kind() == R::KIND);
        Self { at: tensor.data_ptr().cast(), batch, width }
    }

    /// # Safety
    /// The place lies inside the tensor and nobody writes it meanwhile.
    pub unsafe fn read<'a>(self, t: usize, column: usize, features: Range<usize>) -> &'a [R] {
        let start = (t * self.batch + column) * self.width + features.start;
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts(self.at.add(start), features.len()) }
    }

    /// # Safety
    /// The place lies inside the tensor and nobody else reads or writes it meanwhile.
    pub unsafe fn write<'a>(self, t: usize, column: usize, features: Range<usize>) -> &'a mut [R] {
        let start = (t * self.batch + column) * self.width + features.start;
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(start), features.len()) }
    }
}

/// The tensors of a forward; all contiguous and of one kind.
pub(super) struct Operands<'a> {
    /// (seq, batch, 3 hidden): z, f, o before activation.
    pub gates: &'a Tensor,
    /// (batch, hidden).
    pub before: &'a Tensor,
    /// (seq, batch, hidden), zeros and ones.
    pub mask: Option<&'a Tensor>,
    /// Multiplies the forget gate where there is no mask.
    pub keep: f64,
}

struct Launch<R> {
    sizes: Sizes,
    gates: Rows<R>,
    before: Rows<R>,
    mask: Option<Rows<R>>,
    keep: R,
}

impl<R: PoolReal + FromF64> Launch<R> {
    fn new(operands: &Operands<'_>) -> Result<Self> {
        let (seq, batch, width) = operands.gates.size3()?;
        let sizes = Sizes { seq: seq as usize, batch: batch as usize, hidden: width as usize / 3 };
        let rows = |tensor| Rows::new(tensor, sizes.batch, sizes.hidden);
        Ok(Self {
            sizes,
            gates: Rows::new(operands.gates, sizes.batch, 3 * sizes.hidden),
            before: rows(operands.before),
            mask: operands.mask.map(rows),
            keep: R::from_f64(operands.keep),
        })
    }

    /// # Safety
    /// The step and features lie inside the tensors.
    unsafe fn gates<'a>(
        &self,
        t: usize,
        column: usize,
        features: &Range<usize>,
    ) -> GateRows<'a, R> {
        let hidden = self.sizes.hidden;
        let part = |k: usize| features.start + k * hidden..features.end + k * hidden;
        // SAFETY: the gates are only read during a launch.
        unsafe {
            GateRows {
                z: self.gates.read(t, column, part(0)),
                f: self.gates.read(t, column, part(1)),
                o: self.gates.read(t, column, part(2)),
            }
        }
    }

    /// # Safety
    /// The step and features lie inside the tensors.
    unsafe fn keep<'a>(&self, t: usize, column: usize, features: &Range<usize>) -> KeepRow<'a, R> {
        match self.mask {
            // SAFETY: the mask is only read during a launch.
            Some(mask) => KeepRow::Each(unsafe { mask.read(t, column, features.clone()) }),
            None => KeepRow::All(self.keep),
        }
    }
}

/// Conversion of the few scalars a launch takes.
pub(super) trait FromF64 {
    fn from_f64(x: f64) -> Self;
}

impl FromF64 for f32 {
    fn from_f64(x: f64) -> Self {
        x as f32
    }
}

impl FromF64 for f64 {
    fn from_f64(x: f64) -> Self {
        x
    }
}

/// Writes the states `c` and outputs `h`, both (seq, batch, hidden).
pub(super) fn forward<R: PoolReal + FromF64>(
    operands: &Operands<'_>,
    c: &Tensor,
    h: &Tensor,
) -> Result<()> {
    let launch = Launch::<R>::new(operands)?;
    let Sizes { seq, batch, hidden } = launch.sizes;
    let (c, h) = (Rows::<R>::new(c, batch, hidden), Rows::<R>::new(h, batch, hidden));
    launch.sizes.for_each(|column, features| {
        for t in 0..seq {
            // SAFETY: t < seq, column < batch and features ⊂ 0..hidden by `for_each`; each task
            // writes its own column and features, and reads only those of `c` it wrote at t - 1.
            unsafe {
                let before = match t {
                    0 => launch.before.read(0, column, features.clone()),
                    _ => c.read(t - 1, column, features.clone()),
                };
                R::forward_row(
                    launch.gates(t, column, &features),
                    launch.keep(t, column, &features),
                    before,
                    c.write(t, column, features.clone()),
                    h.write(t, column, features.clone()),
                );
            }
        }
    })
}

/// The gradients that reach a forward's outputs, contiguous.
pub(super) struct OutputGrads<'a> {
    /// (seq, batch, hidden).
    pub h: &'a Tensor,
    /// (batch, hidden), of the last state.
    pub last: Option<&'a Tensor>,
}

/// Writes the gradients of the gates, (seq, batch, 3 hidden), and of the initial state,
/// (batch, hidden), from the states `c` of the forward.
pub(super) fn backward<R: PoolReal + FromF64>(
    operands: &Operands<'_>,
    c: &Tensor,
    grads: &OutputGrads<'_>,
    grad_gates: &Tensor,
    grad_before: &Tensor,
) -> Result<()> {
    let launch = Launch::<R>::new(operands)?;
    let Sizes { seq, batch, hidden } = launch.sizes;
    let rows = |tensor: &Tensor| Rows::<R>::new(tensor, batch, hidden);
    let (c, grad_h, grad_last) = (rows(c), rows(grads.h), grads.last.map(rows));
    let (grad_gates, grad_before) =
        (Rows::<R>::new(grad_gates, batch, 3 * hidden), rows(grad_before));
    launch.sizes.for_each(|column, features| {
        // SAFETY: as in `forward`; the gradients of a task's own column and features are its alone.
        unsafe {
            let carry = grad_before.write(0, column, features.clone());
            match grad_last {
                Some(last) => carry.copy_from_slice(last.read(0, column, features.clone())),
                None => carry.fill(R::default()),
            }
            for t in (0..seq).rev() {
                let before = match t {
                    0 => launch.before.read(0, column, features.clone()),
                    _ => c.read(t - 1, column, features.clone()),
                };
                let part = |k: usize| features.start + k * hidden..features.end + k * hidden;
                R::backward_row(
                    launch.gates(t, column, &features),
                    launch.keep(t, column, &features),
                    before,
                    c.read(t, column, features.clone()),
                    grad_h.read(t, column, features.clone()),
                    carry,
                    grad_gates.write(t, column, part(0)),
                    grad_gates.write(t, column, part(1)),
                    grad_gates.write(t, column, part(2)),
                );
            }
        }
    })
}
