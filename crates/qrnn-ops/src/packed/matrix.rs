//! A packed matrix and its products.

use std::ops::Range;

use super::activations::Activations;
use super::bitmask::Bitmask;
use super::codes4::Codes4;
use super::dense8::Dense8;
use super::error::{Error, check_instructions, check_length};
use super::form::Form;
use super::instructions::Instructions;
use super::layout::{GROUP, Layout};
use super::output::{Affine, Epilogue, Output, Sums};
use super::product::{Product, signed, with_scratch};
use super::unpack::{book_of, unpack};

/// A matrix of 8-bit codes, (R, C), in a form that products read as it is stored. Codes lie between
/// -127 and 127.
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    layout: Layout,
    form: Form,
    instructions: Instructions,
}

impl PackedMatrix {
    /// A sparse matrix: a bit for every element (bit i of byte j is element 8j + i, row-major), and
    /// the codes of the elements that have one, in order.
    pub fn bitmask(rows: usize, columns: usize, mask: &[u8], codes: &[i8]) -> Result<Self, Error> {
        let layout = Layout::new(rows, columns)?;
        Ok(Self::of(layout, Form::Bitmask(Bitmask::new(layout, mask, codes)?)))
    }

    /// A dense matrix of indices into a book: row-major, two a byte, the lower half first.
    pub fn codes4(
        rows: usize,
        columns: usize,
        indices: &[u8],
        book: &[i8; 16],
    ) -> Result<Self, Error> {
        let layout = Layout::new(rows, columns)?;
        Ok(Self::of(layout, Form::Codes4(Codes4::new(layout, indices, book)?)))
    }

    /// A dense matrix of row-major codes.
    pub fn dense8(rows: usize, columns: usize, codes: &[i8]) -> Result<Self, Error> {
        let layout = Layout::new(rows, columns)?;
        Ok(Self::of(layout, Form::Dense8(Dense8::new(layout, codes)?)))
    }

    /// A matrix as a file stores it: codes of 2 to 8 bits, the lowest bit first, in two's complement
    /// or as indices into a book of 2^bits entries. With a mask, only the elements that have a bit
    /// have a code. Dense 4-bit codes stay 4 bits wide; other codes become bytes.
    pub fn from_entries(
        (rows, columns): (usize, usize),
        mask: Option<&[u8]>,
        codes: &[u8],
        bits: u32,
        book: Option<&[i8]>,
    ) -> Result<Self, Error> {
        if let Some(mask) = mask {
            let non_zeros = mask.iter().map(|byte| byte.count_ones() as usize).sum();
            return Self::bitmask(rows, columns, mask, &unpack(codes, bits, non_zeros, book)?);
        }
        if bits == 4
            && let Ok(book) = book_of(bits, book)?.try_into()
        {
            return Self::codes4(rows, columns, codes, &book);
        }
        let layout = Layout::new(rows, columns)?;
        let codes = unpack(codes, bits, rows * columns, book)?;
        Ok(Self::of(layout, Form::Dense8(Dense8::new(layout, &codes)?)))
    }

    fn of(layout: Layout, form: Form) -> Self {
        Self { layout, form, instructions: Instructions::best() }
    }

    /// Computes with these instructions instead of the best. The results are the same bits.
    pub fn with_instructions(self, instructions: Instructions) -> Result<Self, Error> {
        Ok(Self { instructions: check_instructions(instructions)?, ..self })
    }

    /// Number of rows, R.
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// Number of columns, C.
    pub fn columns(&self) -> usize {
        self.layout.columns
    }

    /// Bytes in memory, all of which a product of all rows reads once.
    pub fn bytes(&self) -> usize {
        match &self.form {
            Form::Bitmask(form) => form.bytes(),
            Form::Codes4(form) => form.bytes(),
            Form::Dense8(form) => form.bytes(),
        }
    }

    /// Stored codes: the non-zeros of a sparse matrix, or all elements.
    pub fn stored_codes(&self) -> usize {
        match &self.form {
            Form::Bitmask(form) => form.non_zeros(),
            _ => self.layout.rows * self.layout.columns,
        }
    }

    /// Writes the codes of some rows, (rows, C).
    pub fn decode(&self, rows: Range<usize>, codes: &mut [i8]) -> Result<(), Error> {
        self.check_rows(&rows)?;
        let Layout { columns, padded, .. } = self.layout;
        check_length("decoded codes", rows.len() * columns, codes.len())?;
        with_scratch(|scratch| {
            scratch.group.resize(GROUP * padded);
            let group_rows = signed(&mut scratch.group);
            let mut decoded = None;
            for (row, to) in rows.zip(codes.chunks_exact_mut(columns)) {
                let group = row / GROUP;
                if decoded != Some(group) {
                    self.form.decode(self.layout, group, group_rows);
                    decoded = Some(group);
                }
                to.copy_from_slice(&group_rows[row % GROUP * padded..][..columns]);
            }
        });
        Ok(())
    }

    /// Exact sums of some rows: out (T, rows) = x (T, C) · these rows transposed.
    ///
    /// Threads that share a product take rows from multiples of 64 on: a group of 16 rows that a
    /// range cuts is computed on both sides.
    pub fn multiply(
        &self,
        x: &Activations,
        rows: Range<usize>,
        out: Output<'_, i32>,
    ) -> Result<(), Error> {
        self.run(x, rows, Sums, out)
    }

    /// Scaled sums of some rows: out = sum · scale + bias, in f32, two roundings. A sum becomes an
    /// f32 exactly below 2^24 and rounded to nearest above. Scale and bias are those of all R rows.
    pub fn multiply_affine(
        &self,
        x: &Activations,
        rows: Range<usize>,
        affine: Affine<'_>,
        out: Output<'_, f32>,
    ) -> Result<(), Error> {
        check_length("scale", self.layout.rows, affine.scale.len())?;
        if let Some(bias) = affine.bias {
            check_length("bias", self.layout.rows, bias.len())?;
        }
        self.run(x, rows, affine, out)
    }

    fn run<E: Epilogue>(
        &self,
        x: &Activations,
        rows: Range<usize>,
        epilogue: E,
        out: Output<'_, E::Element>,
    ) -> Result<(), Error> {
        self.check_rows(&rows)?;
        check_length("activations' columns", self.layout.columns, x.columns())?;
        if rows.is_empty() || x.tokens() == 0 {
            return Ok(());
        }
        check_length("output tokens", x.tokens(), out.tokens())?;
        check_length("output rows", rows.len(), out.rows())?;
        let product = Product { layout: self.layout, x, rows, epilogue, out };
        self.form.multiply(self.instructions, &product);
        Ok(())
    }

    fn check_rows(&self, rows: &Range<usize>) -> Result<(), Error> {
        if rows.start <= rows.end && rows.end <= self.layout.rows {
            return Ok(());
        }
        Err(Error::Rows { asked: rows.clone(), rows: self.layout.rows })
    }
}
