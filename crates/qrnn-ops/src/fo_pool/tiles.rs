//! How the CPU's kernels go through tensors: threads share out the columns and their features, and
//! each goes through time with the states of all its own.

use std::ops::Range;

use tch::Tensor;

use crate::Result;
use crate::libtorch::parallel_for;
use crate::simd::Element;

/// Feature-steps worth a thread of their own.
const GRAIN: usize = 8192;

/// Features that are shared out together, at most.
const MAX_TILE_WIDTH: usize = 1024;

/// Sequence length, columns and features.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub seq: usize,
    pub batch: usize,
    pub hidden: usize,
}

impl Shape {
    /// Of a tensor (seq, batch, gates · hidden).
    pub fn of(tensor: &Tensor, gates: usize) -> Result<Self> {
        let (seq, batch, width) = tensor.size3()?;
        Ok(Self { seq: seq as usize, batch: batch as usize, hidden: width as usize / gates })
    }
}

/// A column's features, or some of them.
#[derive(Debug, Clone)]
pub struct Tile {
    column: usize,
    features: Range<usize>,
}

/// Which way time is gone through.
#[derive(Debug, Clone, Copy)]
pub enum Direction {
    InTime,
    Back,
}

/// All parts of a launch.
#[derive(Debug, Clone, Copy)]
pub struct Tiles {
    shape: Shape,
    /// Features of a part; of a column's last one, what is left.
    tile_width: usize,
    tiles_per_column: usize,
}

impl Tiles {
    /// For tensors of so many numbers.
    pub fn of(shape: Shape) -> Self {
        // As even as they can be, in whole cache lines of bf16.
        let tile_width =
            shape.hidden.div_ceil(shape.hidden.div_ceil(MAX_TILE_WIDTH)).next_multiple_of(32);
        Self { shape, tile_width, tiles_per_column: shape.hidden.div_ceil(tile_width) }
    }

    fn get(self, i: usize) -> Tile {
        let first = i % self.tiles_per_column * self.tile_width;
        let features = first..(first + self.tile_width).min(self.shape.hidden);
        Tile { column: i / self.tiles_per_column, features }
    }

    /// Shares the parts out. A thread calls `begin(tile)` for each of its own; then, time step by time
    /// step, `visit(t, tile, next)` for each, with the step and part that it will visit next, or at
    /// the end any; then `end()`.
    pub fn walk(
        self,
        direction: Direction,
        begin: impl Fn(&Tile) + Sync,
        visit: impl Fn(usize, &Tile, (usize, &Tile)) + Sync,
        end: impl Fn() + Sync,
    ) -> Result<()> {
        let Shape { seq, batch, hidden } = self.shape;
        let grain = GRAIN.div_ceil((seq * hidden.min(self.tile_width)).max(1));
        parallel_for(batch * self.tiles_per_column, grain, |own| {
            own.clone().for_each(|i| begin(&self.get(i)));
            for step in 0..seq {
                for i in own.clone() {
                    let (next_step, next) = match i + 1 < own.end {
                        true => (step, i + 1),
                        false => ((step + 1).min(seq - 1), own.start),
                    };
                    let [t, next_t] = [step, next_step].map(|step| match direction {
                        Direction::InTime => step,
                        Direction::Back => seq - 1 - step,
                    });
                    visit(t, &self.get(i), (next_t, &self.get(next)));
                }
            }
            end();
        })
    }
}

/// Rows of a contiguous (seq, batch, width) or (batch, width) tensor, handed to many threads at once.
#[derive(Clone, Copy)]
pub struct Rows<S> {
    at: *mut S,
    batch: usize,
    width: usize,
}

// SAFETY: a pointer into a tensor that outlives the launch; threads touch disjoint parts.
unsafe impl<S> Send for Rows<S> {}
// SAFETY: as above.
unsafe impl<S> Sync for Rows<S> {}

impl<S: Element> Rows<S> {
    /// `tensor` is contiguous, on the CPU, of kind S, and its last dimension is the width.
    pub fn new(tensor: &Tensor, batch: usize, width: usize) -> Self {
        debug_assert!(tensor.is_contiguous() && tensor.kind() == S::KIND);
        Self { at: tensor.data_ptr().cast(), batch, width }
    }

    /// The k-th of several such tensors that lie side by side, hidden numbers from one to the next.
    pub fn offset_by(self, k: usize, hidden: usize) -> Self {
        Self { at: self.at.wrapping_add(k * hidden), ..self }
    }

    fn place(self, t: usize, tile: &Tile) -> *mut S {
        self.at.wrapping_add((t * self.batch + tile.column) * self.width + tile.features.start)
    }

    /// # Safety
    /// The place lies inside the tensor and nobody writes it meanwhile.
    pub unsafe fn read<'a>(self, t: usize, tile: &Tile) -> &'a [S] {
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts(self.place(t, tile), tile.features.len()) }
    }

    /// # Safety
    /// The place lies inside the tensor and nobody else reads or writes it meanwhile.
    pub unsafe fn write<'a>(self, t: usize, tile: &Tile) -> &'a mut [S] {
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.place(t, tile), tile.features.len()) }
    }
}
