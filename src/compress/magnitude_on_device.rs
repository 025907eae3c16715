//! Which weights to keep, chosen on the device of the weights: nothing is copied to the host.

use tch::{Kind, Tensor};

use super::magnitude::Ranking;
use crate::Result;
use crate::packed::zeros_of;

/// As [`super::magnitude::kept`], of a matrix (rows, columns) on any device: a mask of kind Uint8 and the same shape,
/// 1 where a weight stays.
///
/// # Errors
/// [`crate::Error::Ops`] if memory runs out.
pub(super) fn mask(
    weights: &Tensor,
    fraction: f64,
    (block, ranking): (usize, Ranking),
) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let (rows, columns) = weights.size2()?;
    let sizes = block_sizes(weights, block as i64)?;
    let groups = sizes.size()[0];
    let zeros = zeros_of(sizes.numel() as u128, fraction) as i64;
    let flags = match ranking {
        Ranking::Tensor => {
            let all = sizes.f_view([1, -1])?;
            largest(&all, all.size()[1] - zeros)?.f_view([groups, columns])?
        }
        Ranking::Row => {
            // The last rows have one zero more where they cannot all have as many.
            let with_more = zeros % groups.max(1);
            let keep = columns - zeros / groups.max(1);
            let first = largest(&sizes.f_narrow(0, 0, groups - with_more)?, keep)?;
            let last = largest(&sizes.f_narrow(0, groups - with_more, with_more)?, keep - 1)?;
            Tensor::f_cat(&[first, last], 0)?
        }
    };
    let flags = flags.f_to_kind(Kind::Uint8)?;
    if block == 1 {
        return Ok(flags);
    }
    let of_elements = flags.f_unsqueeze(1)?.f_expand([groups, block as i64, columns], false)?;
    Ok(of_elements.f_reshape([-1, columns])?.f_narrow(0, 0, rows)?.f_contiguous()?)
}

/// The sums of the absolute values of each block, (groups, columns).
fn block_sizes(weights: &Tensor, block: i64) -> Result<Tensor> {
    let sizes = weights.f_abs()?;
    if block == 1 {
        return Ok(sizes);
    }
    let (rows, columns) = sizes.size2()?;
    let missing = (rows as u64).next_multiple_of(block as u64) as i64 - rows;
    let padded = sizes.f_constant_pad_nd([0, 0, 0, missing])?;
    let sum = padded.f_view([-1, block, columns])?;
    Ok(sum.f_sum_dim_intlist(1, false, Kind::Float)?)
}

/// Flags of the `count` largest of each row; of equal ones, the first.
fn largest(sizes: &Tensor, count: i64) -> Result<Tensor> {
    let (rows, columns) = sizes.size2()?;
    if rows == 0 || count <= 0 || count >= columns {
        let all = i64::from(count > 0);
        return Ok(Tensor::f_full(sizes.size(), all, (Kind::Bool, sizes.device()))?);
    }
    let border = sizes.f_topk(count, -1, true, false)?.0.f_amin([-1], true)?;
    let (above, at) = (sizes.f_gt_tensor(&border)?, sizes.f_eq_tensor(&border)?);
    // Ties at the border may be on both sides.
    let ties = above.f_sum_dim_intlist(-1, true, Kind::Int64)?.f_neg()?.f_add_scalar(count)?;
    let is_among_first = at.f_cumsum(-1, Kind::Int)?.f_le_tensor(&ties)?;
    Ok(above.f_logical_or(&at.f_logical_and(&is_among_first)?)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::magnitude::kept;
    use super::*;

    proptest! {
        /// Few different sizes, so that there are ties, whose sums are exact.
        #[test]
        fn the_mask_is_that_of_the_host(
            (rows, columns) in (1..9usize, 1..9usize),
            seed in prop::collection::vec(-5i8..5, 64),
            fraction in 0.0f64..1.0,
            block in 1..4usize,
            by_row in any::<bool>(),
        ) {
            let weights: Vec<f32> = seed[..rows * columns].iter().map(|&w| f32::from(w)).collect();
            let tensor = Tensor::from_slice(&weights).view([rows as i64, columns as i64]);
            let how = (block, if by_row { Ranking::Row } else { Ranking::Tensor });
            let expected: Vec<u8> =
                kept(&weights, columns, fraction, how).into_iter().map(u8::from).collect();
            let mask = mask(&tensor, fraction, how).unwrap();
            prop_assert_eq!((mask.kind(), mask.size()), (Kind::Uint8, tensor.size()));
            prop_assert!(mask.is_contiguous());
            prop_assert_eq!(Vec::<u8>::try_from(mask.view(-1)).unwrap(), expected);
        }
    }
}
