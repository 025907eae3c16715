//! Which weights to keep: the largest of each tensor, an exact number of them.

use crate::packed::zeros_of;

/// Among which weights of a tensor the largest are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranking {
    /// All.
    Tensor,
    /// Those of a row, or of the rows of a block: each row keeps as many.
    Row,
}

/// The weights or blocks of a tensor that stay: those of the largest absolute sums. Exactly
/// `floor(fraction × count)` go; of equal ones, the last go.
///
/// * `weights`: (rows, columns), row by row; `block`: rows of a block.
///
/// Returns one flag per weight.
pub(crate) fn kept(
    weights: &[f32],
    columns: usize,
    fraction: f64,
    (block, ranking): (usize, Ranking),
) -> Vec<bool> {
    let columns = columns.max(1);
    let groups = (weights.len() / columns).div_ceil(block);
    let block_of = |i: usize| i / columns / block * columns + i % columns;
    let mut sizes = vec![0.0f32; groups * columns];
    for (i, weight) in weights.iter().enumerate() {
        sizes[block_of(i)] += weight.abs();
    }
    let zeros = zeros_of(sizes.len() as u128, fraction) as usize;
    let flags = match ranking {
        Ranking::Tensor => largest(&sizes, sizes.len() - zeros),
        Ranking::Row => {
            // The last rows have one zero more where they cannot all have as many.
            let first_with_more = groups - zeros % groups.max(1);
            let rows = sizes.chunks(columns).enumerate();
            rows.flat_map(|(row, sizes)| {
                let zeros = zeros / groups + usize::from(row >= first_with_more);
                largest(sizes, columns - zeros)
            })
            .collect()
        }
    };
    match block {
        1 => flags,
        _ => (0..weights.len()).map(|i| flags[block_of(i)]).collect(),
    }
}

/// Flags of the `count` largest of these sizes, none of which is negative; of equal ones, the first.
fn largest(sizes: &[f32], count: usize) -> Vec<bool> {
    if count == 0 || count >= sizes.len() {
        return vec![count > 0; sizes.len()];
    }
    // The bits of floats that are not negative are in their order; NaN is above all.
    let mut bits: Vec<u32> = sizes.iter().map(|size| size.to_bits()).collect();
    let (_, &mut border, above) = bits.select_nth_unstable(sizes.len() - count);
    // Ties at the border may be on both sides.
    let surely = above.iter().filter(|&&bits| bits > border).count();
    let mut ties = count - surely;
    let keep = |size: &f32| match size.to_bits().cmp(&border) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => {
            let keeps = ties > 0;
            ties -= usize::from(keeps);
            keeps
        }
    };
    sizes.iter().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Single weights of the whole tensor.
    const ALL: (usize, Ranking) = (1, Ranking::Tensor);

    #[test]
    fn each_row_keeps_its_largest() {
        let weights = [0.1, 0.2, 0.3, 9.0, 8.0, 7.0, 1.0, 2.0, 3.0];
        let kept = |fraction| kept(&weights, 3, fraction, (1, Ranking::Row));
        assert_eq!(kept(0.34), [false, true, true, true, true, false, false, true, true]);
        // Four zeros for three rows.
        assert_eq!(kept(0.45), [false, true, true, true, true, false, false, false, true]);
    }

    #[test]
    fn the_smallest_go_and_of_ties_the_last() {
        let weights = [0.5, -0.1, 0.1, -2.0, 0.1, 0.0];
        assert_eq!(kept(&weights, 6, 0.5, ALL), [true, true, false, true, false, false]);
        assert_eq!(kept(&weights, 6, 0.0, ALL), [true; 6]);
        assert_eq!(kept(&weights[..1], 1, 0.9999999999, ALL), [false]);
        assert_eq!(kept(&[0.0; 4], 4, 0.5, ALL), [true, true, false, false]);
    }

    #[test]
    fn blocks_go_as_a_whole() {
        // Two columns; blocks of rows 0 and 1, and of row 2.
        let weights = [0.1, 1.0, 0.1, 1.0, 0.15, 0.3];
        assert_eq!(
            kept(&weights, 2, 0.5, (2, Ranking::Tensor)),
            [false, true, false, true, false, true]
        );
        assert_eq!(
            kept(&weights, 2, 0.25, (2, Ranking::Tensor)),
            [true, true, true, true, false, true]
        );
    }

    proptest! {
        #[test]
        fn the_number_is_exact_and_none_that_goes_is_larger(
            weights in prop::collection::vec(-8i8..8, 1..60),
            fraction in 0.0f64..1.0,
        ) {
            let weights: Vec<f32> = weights.into_iter().map(f32::from).collect();
            let flags = kept(&weights, weights.len(), fraction, ALL);
            let gone = flags.iter().filter(|kept| !**kept).count() as u128;
            prop_assert_eq!(gone, zeros_of(weights.len() as u128, fraction));
            let sizes = |keeps| {
                let of = weights.iter().zip(&flags).filter(move |(_, kept)| **kept == keeps);
                of.map(|(weight, _)| weight.abs())
            };
            let smallest_kept = sizes(true).fold(f32::INFINITY, f32::min);
            prop_assert!(sizes(false).all(|gone| gone <= smallest_kept));
        }
    }
}
