//! Work partition of the CPU kernels: (batch column, feature tile) pairs are split over threads; a thread
//! runs every time step of its own pairs.

use std::ops::Range;

use tch::Tensor;

use crate::Result;
use crate::libtorch::parallel_for;
use crate::simd::Element;

/// Elements (features times time steps) below which another thread does not pay.
const GRAIN: usize = 8192;

/// Most features of a tile.
const MAX_TILE_WIDTH: usize = 1024;

/// Sequence length, batch size and features.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub seq: usize,
    pub batch: usize,
    pub hidden: usize,
}

impl Shape {
    /// The shape of a tensor (seq, batch, gates · hidden).
    pub fn of(tensor: &Tensor, gates: usize) -> Result<Self> {
        let (seq, batch, width) = tensor.size3()?;
        Ok(Self { seq: seq as usize, batch: batch as usize, hidden: width as usize / gates })
    }
}

/// A range of the features of one batch column.
#[derive(Debug, Clone)]
pub struct Tile {
    column: usize,
    features: Range<usize>,
}

/// The order of the time steps.
#[derive(Debug, Clone, Copy)]
pub enum Direction {
    Forward,
    Backward,
}

/// The tiles of a tensor.
#[derive(Debug, Clone, Copy)]
pub struct Tiles {
    shape: Shape,
    /// Features of a tile; the last tile of a column may have fewer.
    tile_width: usize,
    tiles_per_column: usize,
}

impl Tiles {
    /// Partitions tensors of this shape.
    pub fn of(shape: Shape) -> Self {
        // Of equal width, rounded up to a cache line of bf16.
        let tile_width =
            shape.hidden.div_ceil(shape.hidden.div_ceil(MAX_TILE_WIDTH)).next_multiple_of(32);
        Self { shape, tile_width, tiles_per_column: shape.hidden.div_ceil(tile_width) }
    }

    fn get(self, i: usize) -> Tile {
        let first = i % self.tiles_per_column * self.tile_width;
        let features = first..(first + self.tile_width).min(self.shape.hidden);
        Tile { column: i / self.tiles_per_column, features }
    }

    /// Splits the tiles over threads. A thread calls `begin(tile)` for each of its tiles; then, for every
    /// time step, `visit(t, tile, next)` for each, where `next` is the (t, tile) of its next visit (any
    /// valid one at the last visit); then `end()`.
    pub fn for_each_step(
        self,
        direction: Direction,
        begin: impl Fn(&Tile) + Sync,
        visit: impl Fn(usize, &Tile, (usize, &Tile)) + Sync,
        end: impl Fn() + Sync,
    ) -> Result<()> {
        let Shape { seq, batch, hidden } = self.shape;
        let grain = GRAIN.div_ceil((seq * hidden.min(self.tile_width)).max(1));
        parallel_for(batch * self.tiles_per_column, grain, |tiles| {
            tiles.clone().for_each(|i| begin(&self.get(i)));
            for step in 0..seq {
                for i in tiles.clone() {
                    let (next_step, next) = if i + 1 < tiles.end {
                        (step, i + 1)
                    } else {
                        ((step + 1).min(seq - 1), tiles.start)
                    };
                    let [t, next_t] = [step, next_step].map(|step| match direction {
                        Direction::Forward => step,
                        Direction::Backward => seq - 1 - step,
                    });
                    visit(t, &self.get(i), (next_t, &self.get(next)));
                }
            }
            end();
        })
    }
}

/// Rows of a contiguous (seq, batch, width) or (batch, width) tensor, shared by threads.
#[derive(Clone, Copy)]
pub struct Rows<S> {
    start: *mut S,
    batch: usize,
    width: usize,
}

// SAFETY: a pointer into a tensor that outlives the kernel; threads access disjoint tiles.
unsafe impl<S> Send for Rows<S> {}
// SAFETY: as above.
unsafe impl<S> Sync for Rows<S> {}

impl<S: Element> Rows<S> {
    /// The rows of a contiguous CPU tensor of kind S whose last dimension is `width`.
    pub fn new(tensor: &Tensor, batch: usize, width: usize) -> Self {
        debug_assert!(tensor.is_contiguous() && tensor.kind() == S::KIND);
        Self { start: tensor.data_ptr().cast(), batch, width }
    }

    /// The rows of gate k, where each row holds several gates of `hidden` elements.
    pub fn offset_by(self, k: usize, hidden: usize) -> Self {
        Self { start: self.start.wrapping_add(k * hidden), ..self }
    }

    fn pointer(self, t: usize, tile: &Tile) -> *mut S {
        self.start.wrapping_add((t * self.batch + tile.column) * self.width + tile.features.start)
    }

    /// # Safety
    /// (t, tile) lies inside the tensor, and nothing writes it during 'a.
    pub unsafe fn read<'a>(self, t: usize, tile: &Tile) -> &'a [S] {
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts(self.pointer(t, tile), tile.features.len()) }
    }

    /// # Safety
    /// (t, tile) lies inside the tensor, and nothing else reads or writes it during 'a.
    pub unsafe fn write<'a>(self, t: usize, tile: &Tile) -> &'a mut [S] {
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(t, tile), tile.features.len()) }
    }
}
