//! Sizes shared by several parts of a figure, in page pixels.

/// Width and height of a figure in page pixels.
pub(super) const PAGE: (u32, u32) = (900, 520);

/// Em of ticks, labels and legends.
pub(super) const SMALL: f64 = 11.5;

/// Radius of a marker.
pub(super) const MARKER: f64 = 4.5;
