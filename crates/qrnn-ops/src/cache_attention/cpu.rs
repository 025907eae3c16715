//! Cache attention on the CPU.

use std::sync::{Mutex, PoisonError};

use tch::{Kind, Tensor};

use super::chunk::Chunk;
use super::rows::RowElement;
use crate::Result;
use crate::libtorch::parallel_for;

/// Exponentials below which another thread does not pay.
const GRAIN: usize = 16_384;

/// [`super::CacheAttention::log_probabilities`] of a chunk: (thetas, queries).
pub(super) fn chunk(chunk: &Chunk<'_>, thetas: &[f64]) -> Result<Tensor> {
    match chunk.scores.kind() {
        Kind::Double => rows::<f64>(chunk, thetas),
        _ => rows::<f32>(chunk, thetas),
    }
}

fn rows<R: RowElement>(chunk: &Chunk<'_>, thetas: &[f64]) -> Result<Tensor> {
    let columns = chunk.scores.size2()?.1 as usize;
    debug_assert!(chunk.scores.is_contiguous() && chunk.scores.kind() == R::KIND);
    let scores: &[R] = match chunk.queries * columns {
        // Such a tensor may have a null pointer.
        0 => &[],
        // SAFETY: the contiguous tensor has `queries` × `columns` elements of this kind, which nothing writes
        // before the end of this function.
        n => unsafe { std::slice::from_raw_parts(chunk.scores.data_ptr().cast::<R>(), n) },
    };
    // Tensors cannot be shared between threads.
    let (values, size, start, first_key) = (chunk.values, chunk.size, chunk.start, chunk.first);
    /// First row of a task, and the results of its rows, one per θ.
    type Done = (usize, Vec<f64>);
    let tasks: Mutex<Vec<Done>> = Mutex::new(vec![]);
    let grain = GRAIN.div_ceil(columns.max(1) * thetas.len().max(1));
    parallel_for(chunk.queries, grain, |rows| {
        let mut done = (rows.start, Vec::with_capacity(rows.len() * thetas.len()));
        for row in rows {
            let position = start + row;
            let band = position.saturating_sub(size)..position;
            let in_row = band.start - first_key..band.end - first_key;
            let scores = &scores[row * columns..][in_row];
            log_probabilities(scores, &values[band], values[position], thetas, &mut done.1);
        }
        tasks.lock().unwrap_or_else(PoisonError::into_inner).push(done);
    })?;
    // (thetas, queries)
    let mut result = vec![0.0; thetas.len() * chunk.queries];
    for (first, done) in tasks.into_inner().unwrap_or_else(PoisonError::into_inner) {
        for (row, of_row) in done.chunks(thetas.len().max(1)).enumerate() {
            for (theta, log_p) in of_row.iter().enumerate() {
                result[theta * chunk.queries + first + row] = *log_p;
            }
        }
    }
    let size = [thetas.len() as i64, chunk.queries as i64];
    Ok(Tensor::f_from_slice(&result)?.f_view(size)?)
}

/// Appends log p_cache of `target` for each θ.
///
/// * `scores`, `values`: of the pairs that are seen, at least one.
fn log_probabilities<R: RowElement>(
    scores: &[R],
    values: &[i64],
    target: i64,
    thetas: &[f64],
    out: &mut Vec<f64>,
) {
    let pairs = scores.iter().zip(values).filter(|(_, value)| **value == target);
    let matching: Vec<f64> = pairs.map(|(score, _)| score.to_f64()).collect();
    if matching.is_empty() {
        out.extend(thetas.iter().map(|_| f64::NEG_INFINITY));
        return;
    }
    let max = R::max(scores);
    let own_max = matching.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for &theta in thetas {
        let sum = R::sum_exponentials(scores, max, R::from_f64(theta));
        let own: f64 = matching.iter().map(|score| (theta * (score - own_max)).exp()).sum();
        out.push(theta * (own_max - max.to_f64()) + own.ln() - sum.ln());
    }
}
