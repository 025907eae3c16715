//! Measures the matrix products of a step without anything else.

use std::collections::HashMap;
use std::time::Instant;

use qrnn::Result;
use qrnn_ops::matmul::{Addend, Precision};
use qrnn_ops::profile::MatmulShape;
use tch::{Device, Kind, Tensor};

use crate::statistics::median;

/// Time and operations of the matrix products of some steps.
pub struct MatmulTime {
    /// Sum of the median times, in seconds.
    pub seconds: f64,
    /// Floating-point operations.
    pub operations: f64,
}

/// Runs each shape `runs` times on random matrices, and sums the medians over all products.
///
/// # Errors
/// [`qrnn::Error::Ops`] if memory runs out.
pub fn measure(shapes: &[MatmulShape], precision: Precision, runs: usize) -> Result<MatmulTime> {
    let mut counts: HashMap<MatmulShape, usize> = HashMap::new();
    for shape in shapes {
        *counts.entry(*shape).or_default() += 1;
    }
    let mut all = MatmulTime { seconds: 0.0, operations: 0.0 };
    for (shape, count) in counts {
        // The first run includes page faults, and is not counted.
        let seconds = times(shape, precision, runs + 1)?.split_off(1);
        all.seconds += median(seconds) * count as f64;
        all.operations += shape.operations() * count as f64;
    }
    Ok(all)
}

/// Seconds of each of `runs` products of this shape.
fn times(shape: MatmulShape, precision: Precision, runs: usize) -> Result<Vec<f64>> {
    let matrix = |rows, columns, row_major, kind| -> Result<Tensor> {
        let random = |size| Tensor::f_rand(size, (Kind::Float, Device::Cpu))?.f_to_kind(kind);
        Ok(if row_major { random([rows, columns])? } else { random([columns, rows])?.f_tr()? })
    };
    let [out_kind, a_kind, b_kind] = shape.kinds;
    let a = matrix(shape.rows, shape.depth, shape.a_by_rows, a_kind)?;
    let b = matrix(shape.depth, shape.columns, shape.b_by_rows, b_kind)?;
    let out = Tensor::f_zeros([shape.rows, shape.columns], (out_kind, Device::Cpu))?;
    let addend = if shape.accumulates { Addend::Output } else { Addend::Nothing };
    (0..runs)
        .map(|_| {
            let started = Instant::now();
            precision.multiply(&out, &a, &b, addend)?;
            Ok(started.elapsed().as_secs_f64())
        })
        .collect()
}
