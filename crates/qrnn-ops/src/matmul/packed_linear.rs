//! Linear maps by exact products of integers, on the CPU and without gradients.

use std::ops::Range;
use std::sync::OnceLock;

use tch::{Device, Kind, Tensor};

use crate::libtorch::parallel_for;
use crate::packed::{Activations, Affine, Output, PackedMatrix};
use crate::profile::{self, Stage};
use crate::{Error, Result};

/// Threads share a product at multiples of this many rows.
const ROWS: usize = 64;

/// Multiplications for which another thread does not pay. One token's product with a layer of the entry has fewer and
/// takes 0.2 ms: a thread that waits for a processor would cost many times that.
const GRAIN: usize = 1 << 24;

/// A linear map of inputs on a grid, whose weights are integers times a scale for each row.
#[derive(Debug)]
pub struct PackedLinear {
    matrix: PackedMatrix,
    /// Factors of the sums of integers, (outputs): the row's scale times the step of the inputs.
    scale: Vec<f32>,
    /// (outputs).
    bias: Option<Vec<f32>>,
    /// Inverse distance of two values of the inputs' grid.
    inverse_step: f32,
}

impl PackedLinear {
    /// * `matrix`: (outputs, inputs);
    /// * `scales`: of the integers, one or one for each row;
    /// * `step`: distance of two values of the inputs' grid;
    /// * `bias`: (outputs).
    ///
    /// # Errors
    /// [`Error::Shape`] if scales or bias do not fit the matrix, or the step has no inverse.
    pub fn new(
        matrix: PackedMatrix,
        scales: &[f32],
        step: f32,
        bias: Option<Vec<f32>>,
    ) -> Result<Self> {
        let rows = matrix.rows();
        let scale: Vec<f32> = match scales {
            [scale] => vec![scale * step; rows],
            scales => scales.iter().map(|scale| scale * step).collect(),
        };
        let inverse_step = 1.0 / step;
        let is_grid = inverse_step > 0.0 && inverse_step.is_finite();
        let fits = scale.len() == rows && bias.as_ref().is_none_or(|bias| bias.len() == rows);
        if !fits || !is_grid {
            return Err(Error::shape(
                "a linear map of packed weights",
                format!(
                    "{} scales, {:?} biases and a step of {step} do not fit {rows} rows",
                    scales.len(),
                    bias.map(|bias| bias.len())
                ),
                "pass a scale and a bias for each row, and a positive step",
            ));
        }
        Ok(Self { matrix, scale, bias, inverse_step })
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.matrix.rows()
    }

    /// x Wᵀ + b without gradients, with x rounded to the grid.
    ///
    /// * `x`: (…, inputs), of kind Float on the CPU.
    ///
    /// Returns (…, outputs).
    ///
    /// # Errors
    /// [`Error::Shape`] if shapes, kind or device do not match.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut size = x.size();
        if let Some(last) = size.last_mut() {
            *last = self.rows() as i64;
        }
        let out = Tensor::f_empty(&size[..], (Kind::Float, Device::Cpu))?;
        let flat = out.f_view([-1, self.rows() as i64])?;
        self.multiply(x, 0..self.rows(), &flat)?;
        Ok(out)
    }

    /// Computes some outputs.
    ///
    /// * `x`: (…, inputs);
    /// * `out`: (tokens, rows), whose rows may be parts of longer ones.
    pub(crate) fn multiply(&self, x: &Tensor, rows: Range<usize>, out: &Tensor) -> Result<()> {
        let _span = profile::span(Stage::MatrixProducts);
        let x = x.f_contiguous()?;
        check(&x, out)?;
        let values: &[f32] = match x.numel() {
            // Such a tensor may have a null pointer.
            0 => &[],
            // SAFETY: a contiguous tensor of this kind on the CPU, which nothing writes meanwhile.
            n => unsafe { std::slice::from_raw_parts(x.data_ptr().cast(), n) },
        };
        let mut codes = Activations::new(self.matrix.columns())?;
        let is_finite = codes.quantize(values, self.inverse_step)?;
        let (tokens, columns) = (codes.tokens(), rows.len());
        if out.size() != [tokens as i64, columns as i64] {
            return Err(mismatch(&x, out));
        }
        let stride = out.stride()[0] as usize;
        let target = Shared(out.data_ptr().cast::<f32>());
        let affine = Affine { scale: &self.scale, bias: self.bias.as_deref() };
        let failure = OnceLock::new();
        let multiplications = ROWS * self.matrix.columns() * tokens;
        let grain = (GRAIN / multiplications.max(1)).max(1);
        parallel_for(columns.div_ceil(ROWS), grain, |blocks| {
            let part = blocks.start * ROWS..(blocks.end * ROWS).min(columns);
            let start = target.at(part.start);
            // SAFETY: these columns of `out` are written by this call only, and lie inside it.
            let out = unsafe { Output::from_raw(start, tokens, part.len(), stride) };
            let of_matrix = rows.start + part.start..rows.start + part.end;
            if let Err(error) = self.matrix.multiply_affine(&codes, of_matrix, affine, out) {
                let _ = failure.set(error);
            }
        })?;
        if let Some(error) = failure.into_inner() {
            return Err(error.into());
        }
        if !is_finite {
            // Integers have no NaN: a loss of a broken model must not look right.
            let _ = out.shallow_clone().f_fill_(f64::NAN)?;
        }
        Ok(())
    }
}

/// A tensor whose disjoint columns are written by many threads.
struct Shared(*mut f32);

// SAFETY: each part belongs to one task of `parallel_for`.
unsafe impl Sync for Shared {}

impl Shared {
    fn at(&self, i: usize) -> *mut f32 {
        self.0.wrapping_add(i)
    }
}

fn check(x: &Tensor, out: &Tensor) -> Result<()> {
    let is_host = |tensor: &Tensor| tensor.kind() == Kind::Float && tensor.device() == Device::Cpu;
    let rows_are_contiguous = out.dim() == 2 && (out.size()[1] <= 1 || out.stride()[1] == 1);
    if is_host(x) && is_host(out) && rows_are_contiguous { Ok(()) } else { Err(mismatch(x, out)) }
}

fn mismatch(x: &Tensor, out: &Tensor) -> Error {
    Error::shape(
        "a linear map of packed weights",
        format!("the input is {x:?}, the output {out:?}"),
        "pass tensors of kind Float on the CPU, of fitting shapes",
    )
}
