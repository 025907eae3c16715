//! The loops around the kernel: blocks of the operands are packed so that a panel of B stays in the
//! first-level cache and a block of A in the second (Goto and van de Geijn 2008; van Zee and van de
//! Geijn 2015).

use std::cell::RefCell;
use std::ops::Range;

use super::kernel::{self, Onto, TILE_COLUMNS, TILE_ROWS, Tile};
use super::pack::{self, Source, pack};
use crate::Result;
use crate::libtorch::parallel_for;

/// Places of the inner dimension in one block: a panel of B takes 40 KB.
const DEPTH: usize = 320;

/// Rows of A in one block: 350 KB.
const ROWS: usize = 20 * TILE_ROWS;

/// Columns of B in one block: 2.6 MB, a share of the third-level cache.
const COLUMNS: usize = 64 * TILE_COLUMNS;

/// Multiplications worth a thread of their own.
const GRAIN: usize = 1 << 18;

/// C (+)= A B.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    /// Its lanes are the rows.
    pub a: Source,
    /// Its lanes are the columns.
    pub b: Source,
    /// (rows, columns), the columns side by side.
    pub c: *mut f32,
    /// Numbers from one row of C to the next.
    pub stride: usize,
    pub onto: Onto,
    pub bf16: bool,
}

// SAFETY: pointers into tensors that outlive the product; tasks write disjoint parts of C.
unsafe impl Sync for Job {}

thread_local! {
    /// Packed blocks of A and of B, kept from one product to the next.
    static PACKED: RefCell<(Buffer, Buffer)> = const { RefCell::new((Buffer(vec![]), Buffer(vec![]))) };
}

/// Room for places, at the start of a cache line.
struct Buffer(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u32; 16]);

impl Buffer {
    fn room(&mut self, places: usize) -> *mut u32 {
        let lines = places.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0; 16]));
        }
        self.0.as_mut_ptr().cast()
    }
}

/// Runs a job on torch's threads, each with a share of C's rows or columns.
///
/// # Safety
/// The CPU has AVX-512 F, and BF16 where the job asks for it; A and B lie in memory, C too, and
/// nobody else touches C meanwhile.
pub(super) unsafe fn run(job: &Job) -> Result<()> {
    let (rows, columns) = (job.a.lanes, job.b.lanes);
    let work = rows * columns * job.a.depth;
    let threads = (tch::get_num_threads().max(1) as usize).min(work.div_ceil(GRAIN)).max(1);
    // Each thread packs all of the operand that is not divided: the smaller one.
    let by_rows = rows > columns;
    let (length, unit) = if by_rows { (rows, TILE_ROWS) } else { (columns, TILE_COLUMNS) };
    let share = length.div_ceil(unit).div_ceil(threads) * unit;
    parallel_for(length.div_ceil(share.max(1)), 1, |parts| {
        for part in parts {
            let range = part * share..((part + 1) * share).min(length);
            let (rows, columns) = if by_rows { (range, 0..columns) } else { (0..rows, range) };
            // SAFETY: this function's contract; parts are disjoint.
            unsafe { of_part(job, rows, columns) };
        }
    })
}

/// Equal blocks of at most `most` each, multiples of `unit` but for the last.
fn blocks(range: Range<usize>, most: usize, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let n = range.len().div_ceil(most).max(1);
    let step = range.len().div_ceil(n).div_ceil(unit).max(1) * unit;
    let end = range.end;
    range.step_by(step).map(move |start| start..(start + step).min(end))
}

/// The part of an operand with these lanes, and these steps of the inner dimension.
fn part(source: &Source, lanes: &Range<usize>, depth: &Range<usize>) -> Source {
    let at = lanes.start * source.lane_stride + depth.start * source.step_stride;
    Source { at: source.at.wrapping_add(at), lanes: lanes.len(), depth: depth.len(), ..*source }
}

/// # Safety
/// As [`run`], for the rows and columns given.
unsafe fn of_part(job: &Job, rows: Range<usize>, columns: Range<usize>) {
    PACKED.with_borrow_mut(|(room_a, room_b)| {
        let places = if job.bf16 { 2 } else { 1 };
        for columns in blocks(columns, COLUMNS, TILE_COLUMNS) {
            for depth in blocks(0..job.a.depth, DEPTH * places, places) {
                let steps = pack::steps(depth.len(), job.bf16);
                let b = room_b.room(columns.len().next_multiple_of(TILE_COLUMNS) * steps);
                // SAFETY: the part lies inside B, and there is room for its panels.
                unsafe { pack::<TILE_COLUMNS>(part(&job.b, &columns, &depth), job.bf16, b) };
                for rows in blocks(rows.clone(), ROWS, TILE_ROWS) {
                    let a = room_a.room(rows.len().next_multiple_of(TILE_ROWS) * steps);
                    // SAFETY: as for B.
                    unsafe { pack::<TILE_ROWS>(part(&job.a, &rows, &depth), job.bf16, a) };
                    let onto = if depth.start == 0 { job.onto } else { Onto::Itself };
                    // SAFETY: the panels are packed, the tiles lie inside C.
                    unsafe { tiles(job, (a, b), steps, rows, columns.clone(), onto) };
                }
            }
        }
    });
}

/// # Safety
/// As [`run`]; `a` and `b` hold the panels of these rows and columns.
unsafe fn tiles(
    job: &Job,
    (a, b): (*const u32, *const u32),
    steps: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    onto: Onto,
) {
    for column in columns.clone().step_by(TILE_COLUMNS) {
        for row in rows.clone().step_by(TILE_ROWS) {
            let tile = Tile {
                a: a.wrapping_add((row - rows.start) * steps),
                b: b.wrapping_add((column - columns.start) * steps),
                steps,
                c: job.c.wrapping_add(row * job.stride + column),
                stride: job.stride,
                rows: (rows.end - row).min(TILE_ROWS),
                columns: (columns.end - column).min(TILE_COLUMNS),
                onto: match onto {
                    Onto::Bias(bias) => Onto::Bias(bias.wrapping_add(column)),
                    onto => onto,
                },
            };
            // SAFETY: this function's contract.
            unsafe { kernel::run(&tile, job.bf16) };
        }
    }
}
