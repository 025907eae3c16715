//! One product, as its kernels see it.

use std::cell::RefCell;
use std::ops::Range;

use super::activations::Activations;
use super::aligned::AlignedBytes;
use super::layout::{GROUP, Layout};
use super::output::{Epilogue, Output};

/// Rows of a matrix times tokens. The shapes fit each other, and the rows are not empty.
#[derive(Debug)]
pub(super) struct Product<'a, E: Epilogue> {
    pub layout: Layout,
    pub x: &'a Activations,
    pub rows: Range<usize>,
    pub epilogue: E,
    pub out: Output<'a, E::Element>,
}

impl<E: Epilogue> Product<'_, E> {
    /// Groups that contain rows of the product.
    pub fn groups(&self) -> Range<usize> {
        self.rows.start / GROUP..self.rows.end.div_ceil(GROUP)
    }

    /// The lanes of a group that are rows of the product.
    pub fn lanes(&self, group: usize) -> Range<usize> {
        let lane = |row: usize| row.clamp(group * GROUP, (group + 1) * GROUP) - group * GROUP;
        lane(self.rows.start)..lane(self.rows.end)
    }

    /// The lanes of 4 groups, from one of the product's groups on, that are rows of the product, as
    /// bits.
    #[inline]
    pub fn lane_bits(&self, group: usize) -> u64 {
        let before = self.rows.start.saturating_sub(group * GROUP);
        let after = ((group + 4) * GROUP).saturating_sub(self.rows.end);
        u64::MAX << before & u64::MAX >> after
    }

    /// Where a token's element of a group's lane 0 goes. It may lie outside the output where this
    /// lane is not a row of the product.
    #[inline]
    pub fn target(&self, token: usize, group: usize) -> *mut E::Element {
        self.out.token(token).wrapping_add(group * GROUP).wrapping_sub(self.rows.start)
    }
}

/// Buffers of a thread, kept between products.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// A group, expanded.
    pub group: AlignedBytes,
    /// Some groups, rearranged for a window of tokens.
    pub panel: AlignedBytes,
}

/// Calls a function with this thread's buffers.
pub(super) fn with_scratch<T>(call: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(call)
}

/// The signed codes of an expanded group.
pub(super) fn signed(bytes: &mut [u8]) -> &mut [i8] {
    // SAFETY: i8 has the size and alignment of u8, and all bit patterns are valid.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) }
}
