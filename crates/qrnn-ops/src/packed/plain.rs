//! Portable products: the reference.

use super::layout::{GROUP, Layout};
use super::output::Epilogue;
use super::product::{Product, signed, with_scratch};

/// * `decode`: expands a group into rows of signed codes.
pub(super) fn multiply<E: Epilogue>(
    decode: impl Fn(Layout, usize, &mut [i8]),
    product: &Product<'_, E>,
) {
    let layout = product.layout;
    with_scratch(|scratch| {
        scratch.group.resize(GROUP * layout.padded);
        let rows = signed(&mut scratch.group);
        for group in product.groups() {
            decode(layout, group, rows);
            let lanes = product.lanes(group);
            for token in 0..product.x.tokens() {
                let mut sums = [0; GROUP];
                for lane in lanes.clone() {
                    let row = &rows[lane * layout.padded..][..layout.columns];
                    sums[lane] = dot(row, product.x.codes(token));
                }
                let to = product.target(token, group);
                // SAFETY: the lanes are rows of the product, which the output has room for.
                unsafe {
                    product.epilogue.store_array(&sums, group * GROUP, lanes.clone(), to);
                }
            }
        }
    });
}

fn dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}
