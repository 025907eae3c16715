//! Matrix products alone: the time of a step that consists of nothing else.

use std::collections::HashMap;
use std::time::Instant;

use qrnn::Result;
use qrnn_ops::matmul::{Addend, Precision};
use qrnn_ops::profile::MatmulShape;
use tch::{Device, Kind, Tensor};

use crate::statistics::median;

/// All products of some steps.
pub struct MatmulTime {
    /// Sum of the median times.
    pub seconds: f64,
    /// Multiplications and additions.
    pub operations: f64,
}

/// Runs each shape `runs` times on random matrices: its median times the number of products of that shape.
///
/// # Errors
/// [`qrnn::Error::Ops`] where memory runs out.
pub fn measure(shapes: &[MatmulShape], precision: Precision, runs: usize) -> Result<MatmulTime> {
    let mut counts: HashMap<MatmulShape, usize> = HashMap::new();
    for shape in shapes {
        *counts.entry(*shape).or_default() += 1;
    }
    let mut all = MatmulTime { seconds: 0.0, operations: 0.0 };
    for (shape, count) in counts {
        // The first run touches its memory for the first time.
        let seconds = times(shape, precision, runs + 1)?.split_off(1);
        all.seconds += median(seconds) * count as f64;
        all.operations += shape.operations() * count as f64;
    }
    Ok(all)
}

/// Seconds of each of `runs` products of this shape.
fn times(shape: MatmulShape, precision: Precision, runs: usize) -> Result<Vec<f64>> {
    let matrix = |rows, columns, by_rows, kind| -> Result<Tensor> {
        let random = |size| Tensor::f_rand(size, (Kind::Float, Device::Cpu))?.f_to_kind(kind);
        Ok(if by_rows { random([rows, columns])? } else { random([columns, rows])?.f_tr()? })
    };
    let [of_out, of_a, of_b] = shape.kinds;
    let a = matrix(shape.rows, shape.depth, shape.a_by_rows, of_a)?;
    let b = matrix(shape.depth, shape.columns, shape.b_by_rows, of_b)?;
    let out = Tensor::f_zeros([shape.rows, shape.columns], (of_out, Device::Cpu))?;
    let added = if shape.accumulates { Addend::Output } else { Addend::Nothing };
    (0..runs)
        .map(|_| {
            let started = Instant::now();
            precision.multiply(&out, &a, &b, added)?;
            Ok(started.elapsed().as_secs_f64())
        })
        .collect()
}
