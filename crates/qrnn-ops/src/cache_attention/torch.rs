//! Cache attention by torch's operations, for a GPU.

use tch::{Kind, Tensor};

use super::chunk::Chunk;
use crate::Result;

/// [`super::CacheAttention::log_probabilities`] of a chunk: (thetas, queries).
///
/// * `values`: those of the whole text, on the device of the scores.
pub(super) fn chunk(chunk: &Chunk<'_>, values: &Tensor, thetas: &[f64]) -> Result<Tensor> {
    let scores = &chunk.scores;
    let keys = scores.size2()?.1;
    let (kind, device) = (scores.kind(), scores.device());
    // Query i sees key j if first + j < start + i ≤ first + j + size.
    let before = (chunk.start - chunk.first) as i64;
    let ones = Tensor::f_ones(scores.size(), (Kind::Bool, device))?;
    let band = ones.f_tril(before - 1)?.f_triu(before - chunk.size as i64)?;
    let never = f64::NEG_INFINITY;
    let scores = scores.f_masked_fill(&band.f_logical_not()?, never)?;
    let scores = scores.f_sub(&scores.f_amax([1], true)?)?;
    let targets = values.f_narrow(0, chunk.start as i64, chunk.queries as i64)?;
    let other = values.f_narrow(0, chunk.first as i64, keys)?.f_unsqueeze(0)?;
    let other = other.f_not_equal_tensor(&targets.f_unsqueeze(1)?)?;
    let rows = thetas.iter().map(|theta| {
        // 0 · -∞ is not a number; the smallest θ gives the same as 0.
        let scaled = scores.f_mul_scalar(theta.max(f64::from(f32::MIN_POSITIVE)))?;
        let sum = scaled.f_logsumexp([1], false)?.f_to_kind(Kind::Double)?;
        let own = scaled.f_masked_fill(&other, never)?.f_logsumexp([1], false)?;
        Ok(own.f_to_kind(Kind::Double)?.f_sub(&sum)?)
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    if rows.is_empty() {
        return Ok(Tensor::f_empty([0, chunk.queries as i64], (kind, device))?);
    }
    Ok(Tensor::f_stack(&rows, 0)?)
}
