//! Exact products of compressed weights with 8-bit activations.
//!
//! A [`PackedMatrix`] holds 8-bit codes as a compressed file does: a bit mask and the codes of the
//! non-zeros, 4-bit indices into a book, or all codes. Its products read this form and expand it in
//! registers (a few tokens) or block by block (a window of tokens). Sums are exact integers, so
//! every instruction set gives the same bits.
//!
//! Everything runs on the calling thread: threads share a product by ranges of rows.
//!
//! ```
//! use qrnn_ops::packed::{Activations, Affine, Output, PackedMatrix};
//!
//! // (2, 3): [[5, 0, -7], [0, 0, 127]].
//! let weights = PackedMatrix::bitmask(2, 3, &[0b100_101], &[5, -7, 127])?;
//! // One token, rounded to steps of 1/128.
//! let mut x = Activations::new(3)?;
//! assert!(x.quantize(&[0.5, 0.25, -0.125], 128.0)?);
//! let mut sums = [0; 2];
//! weights.multiply(&x, 0..2, Output::new(&mut sums, 2)?)?;
//! assert_eq!(sums, [5 * 64 + 7 * 16, 127 * -16]);
//!
//! let affine = Affine { scale: &[0.5, 0.25], bias: Some(&[1.0, 2.0]) };
//! let mut y = [0.0; 2];
//! weights.multiply_affine(&x, 0..2, affine, Output::new(&mut y, 2)?)?;
//! assert_eq!(y, [217.0, -506.0]);
//! # Ok::<(), qrnn_ops::packed::Error>(())
//! ```

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for the kernels of x86-64"))]

mod activations;
mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bitmask;
mod codes4;
mod cursor;
mod dense8;
mod error;
mod form;
mod instructions;
mod layout;
mod matrix;
mod output;
mod plain;
mod product;
mod quantize;
#[cfg(test)]
mod tests;
mod unpack;

pub use activations::Activations;
pub use error::{Error, MAX_COLUMNS};
pub use instructions::Instructions;
pub use matrix::PackedMatrix;
pub use output::{Affine, Output};
pub use quantize::{quantize, quantize_with};
pub use unpack::unpack;
