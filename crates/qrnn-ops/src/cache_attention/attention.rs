//! Cuts the positions of a text into products of queries and keys.

use tch::{Kind, Tensor};

use super::chunk::Chunk;
use super::{cpu, torch};
use crate::matmul::{Addend, Precision};
use crate::{Error, Result, cuda, libtorch};

/// Scores of a chunk that are aimed at: 4 MB in single precision, which a core's cache holds.
const CHUNK_CPU: usize = 1 << 20;

/// As [`CHUNK_CPU`], on a GPU: each chunk costs a few launches.
const CHUNK_CUDA: usize = 1 << 23;

/// Fewest queries of a chunk, below which a product is inefficient.
const MIN_QUERIES: usize = 32;

/// Most queries of a chunk: as many keys are multiplied in vain on either side of the band.
const MAX_QUERIES: usize = 1024;

/// The last `queries` positions of `keys` predict, each from the `size` positions before it.
#[derive(Debug, Clone, Copy)]
pub struct CacheAttention<'a> {
    /// Hidden states, (positions, E), of kind Float or Double.
    pub keys: &'a Tensor,
    /// The token after each hidden state, (positions).
    pub values: &'a [i64],
    /// Number of last positions that predict their value.
    pub queries: usize,
    /// Number of pairs that a position sees, at least 1.
    pub size: usize,
}

impl CacheAttention<'_> {
    /// log p_cache of each query's target for each θ ≥ 0, in nats: (thetas, queries) of kind Double, on the
    /// device of the keys. −∞ where no pair has the target, and where there is no pair yet. Does not synchronize
    /// with a GPU.
    ///
    /// # Errors
    /// [`Error::Shape`] if the sizes do not match; [`Error::Torch`] if memory runs out.
    pub fn log_probabilities(&self, thetas: &[f64]) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        self.check()?;
        let on_gpu = cuda::is_gpu(self.keys.device());
        let (positions, goal) = (self.values.len(), if on_gpu { CHUNK_CUDA } else { CHUNK_CPU });
        let step = (goal / self.size).clamp(MIN_QUERIES, MAX_QUERIES);
        let mut parts = vec![];
        // The very first position has no pairs.
        let begin = positions - self.queries;
        if begin == 0 && self.queries > 0 {
            let size = [thetas.len() as i64, 1];
            let options = (Kind::Double, self.keys.device());
            parts.push(Tensor::f_full(size, f64::NEG_INFINITY, options)?);
        }
        let values = match on_gpu {
            true => Some(libtorch::upload(self.values, self.keys.device())?),
            false => None,
        };
        for start in (begin.max(1)..positions).step_by(step) {
            let chunk = self.chunk(start, step.min(positions - start))?;
            parts.push(match &values {
                Some(values) => torch::chunk(&chunk, values, thetas)?,
                None => cpu::chunk(&chunk, thetas)?,
            });
        }
        if parts.is_empty() {
            let options = (Kind::Double, self.keys.device());
            return Ok(Tensor::f_empty([thetas.len() as i64, 0], options)?);
        }
        Ok(Tensor::f_cat(&parts, 1)?)
    }

    fn check(&self) -> Result<()> {
        let (positions, _) = self.keys.size2()?;
        let sizes_match =
            positions as usize == self.values.len() && self.queries <= self.values.len();
        let kind = self.keys.kind();
        if sizes_match && self.size > 0 && matches!(kind, Kind::Float | Kind::Double) {
            return Ok(());
        }
        Err(Error::shape(
            "cache attention",
            format!(
                "{positions} keys of kind {kind:?}, {} values, {} queries and a size of {}",
                self.values.len(),
                self.queries,
                self.size
            ),
            "pass a value for each key, of kind Float or Double, and a size of at least 1",
        ))
    }

    fn chunk(&self, start: usize, queries: usize) -> Result<Chunk<'_>> {
        let first = start.saturating_sub(self.size);
        // The last query does not see its own key.
        let keys = (start + queries - 1 - first) as i64;
        let options = (self.keys.kind(), self.keys.device());
        let scores = Tensor::f_empty([queries as i64, keys], options)?;
        let of_queries = self.keys.f_narrow(0, start as i64, queries as i64)?;
        let seen = self.keys.f_narrow(0, first as i64, keys)?.f_tr()?;
        Precision::Single.multiply(&scores, &of_queries, &seen, Addend::Nothing)?;
        Ok(Chunk { values: self.values, size: self.size, start, queries, first, scores })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
