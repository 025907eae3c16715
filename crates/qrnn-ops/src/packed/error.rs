//! Errors of the packed matrices.

use std::fmt;
use std::ops::Range;

use super::instructions::Instructions;

/// The most columns of a matrix: sums of 255 · 127 a column stay below 2³¹.
pub const MAX_COLUMNS: usize = i32::MAX as usize / (255 * 127);

/// What is wrong with the data or the arguments of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A matrix or a vector has no columns, or more than [`MAX_COLUMNS`].
    Columns(usize),
    /// A slice has the wrong length.
    Length {
        /// Which slice.
        what: &'static str,
        /// The length that the shapes imply.
        expected: usize,
        /// The length of the slice.
        found: usize,
    },
    /// The codes contain -128, which the symmetric grid leaves out.
    Code {
        /// Which slice.
        what: &'static str,
        /// Where the code is.
        index: usize,
    },
    /// A mask has bits after its last element.
    MaskPadding,
    /// A matrix of this many elements is too large.
    Elements(u64),
    /// The width of the codes is not supported.
    Bits(u32),
    /// A product was asked for rows that the matrix does not have.
    Rows {
        /// The rows asked for.
        asked: Range<usize>,
        /// The rows of the matrix.
        rows: usize,
    },
    /// The step of a quantization is not a positive number.
    Step,
    /// The processor lacks these instructions.
    Instructions(Instructions),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Columns(columns) => {
                write!(f, "{columns} columns: a packed product takes 1 to {MAX_COLUMNS}")
            }
            Self::Length { what, expected, found } => {
                write!(f, "{what}: expected {expected} elements, found {found}")
            }
            Self::Code { what, index } => {
                write!(f, "{what}: code {index} is -128; codes lie between -127 and 127")
            }
            Self::MaskPadding => write!(f, "the mask has bits after its last element"),
            Self::Elements(elements) => {
                write!(f, "{elements} elements: a packed matrix has at most {}", u32::MAX)
            }
            Self::Bits(bits) => write!(f, "{bits}-bit codes: expected 2 to 8 bits"),
            Self::Rows { asked, rows } => {
                write!(f, "rows {} to {} of a matrix of {rows} rows", asked.start, asked.end)
            }
            Self::Step => {
                write!(f, "the inverse step of a quantization must be positive and finite")
            }
            Self::Instructions(set) => write!(f, "this processor has no {set:?}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        Self::shape(
            "a product of packed weights",
            error.to_string(),
            "pass codes and activations of fitting shapes",
        )
    }
}

/// Fails unless a slice has the expected length.
pub(super) fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

/// These instructions, or an error where the processor lacks them.
pub(super) fn check_instructions(set: Instructions) -> Result<Instructions, Error> {
    if set <= Instructions::best() { Ok(set) } else { Err(Error::Instructions(set)) }
}

/// Fails if a code is -128.
pub(super) fn check_codes(what: &'static str, codes: &[i8]) -> Result<(), Error> {
    // The fold has no early exit, so it is vectorized.
    if codes.iter().fold(false, |found, &code| found | (code == i8::MIN)) {
        let index = codes.iter().position(|&code| code == i8::MIN).unwrap_or_default();
        return Err(Error::Code { what, index });
    }
    Ok(())
}
