//! What a step updates.

use tch::Tensor;

/// The tensors of one parameter in a step. All have the parameter's shape, (rows, columns) or (n), and kind
/// Float; the copy may be BFloat16.
#[derive(Debug)]
pub struct AdamUpdate<'a> {
    /// Contiguous, like both moments; updated in place.
    pub parameter: &'a Tensor,
    /// With contiguous rows.
    pub gradient: &'a Tensor,
    /// Updated in place.
    pub first_moment: &'a Tensor,
    /// Updated in place.
    pub second_moment: &'a Tensor,
    /// A copy of the parameter for matrix products, overwritten; with contiguous rows.
    pub copy: Option<&'a Tensor>,
    /// 0 where an element is pruned, whose gradient then counts as 0, also in the norm; contiguous, of kind Uint8.
    pub mask: Option<&'a Tensor>,
    /// The grid of the copy's values; `None` copies the parameter's.
    pub rounding: Option<CopyRounding<'a>>,
}

/// Rounds a copy to integers times a scale: clamp(round(p / s), -largest, largest) s, with ties to even.
#[derive(Debug, Clone, Copy)]
pub struct CopyRounding<'a> {
    /// (1), or (rows): one per row; of kind Float.
    pub scales: &'a Tensor,
    /// Largest integer of the grid.
    pub largest: i32,
}
