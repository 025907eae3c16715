//! The embedding, and its part of the gradients.
//!
//! The embedding of an adaptive model is the sum over its clusters of P e, where e is 0 for tokens of other
//! clusters: nothing is copied to the host, which on a GPU would wait for the device.

use qrnn_ops::matmul::{Addend, matrix_of};
use qrnn_ops::profile::{self, Stage};
use qrnn_ops::split_softmax::OperandRows;
use tch::Tensor;

use super::lm::QrnnLm;
use crate::Result;

/// The rows of tokens in the weight of one cluster.
struct ClusterRows {
    /// Like the tokens. Tokens of other clusters have rows too, spread over the cluster: gradients are added to them
    /// in parallel, so one row for all would be a bottleneck.
    rows: Tensor,
    /// Whether a token is in the cluster; `None` if all are.
    mask: Option<Tensor>,
}

/// The order in which a GPU adds the gradients of a token that occurs several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdditionOrder {
    /// As they come, which is faster and rounds differently each time.
    Any,
    /// That of the tokens: processes that add the same rows get the same bits.
    Fixed,
}

impl ClusterRows {
    /// Sets the rows of `features` (…, width) of tokens in other clusters to 0.
    fn masked(&self, features: &Tensor) -> Result<Tensor> {
        Ok(match &self.mask {
            None => features.shallow_clone(),
            Some(mask) => features.f_mul(&mask.f_unsqueeze(-1)?.f_to_kind(features.kind())?)?,
        })
    }
}

impl QrnnLm {
    /// The embedding of token ids, (seq, batch, E), without dropout.
    ///
    /// While the copies of the weights are rounded, it is gathered from them, in their kind.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if an id is outside the vocabulary.
    pub fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        let _span = profile::span(Stage::Embedding);
        if self.config.widths.is_none() {
            return self.rows_of_weight(0, tokens);
        }
        let mut sum: Option<Tensor> = None;
        for k in 0..self.softmax.weights.len() {
            let at = self.cluster_rows(tokens, k)?;
            let mut part = at.masked(&self.rows_of_weight(k, &at.rows)?)?;
            if let Some(matrix) = self.projection(k)? {
                part = part.f_matmul(&matrix.f_tr()?)?;
            }
            sum = Some(match sum {
                None => part,
                Some(sum) => sum.f_add(&part)?,
            });
        }
        sum.map_or_else(|| Ok(Tensor::f_empty([0], self.options)?), Ok)
    }

    /// These rows of weight `k`, (…, width).
    fn rows_of_weight(&self, k: usize, rows: &Tensor) -> Result<Tensor> {
        let weight = &self.softmax.weights[k];
        let Some(copies) = self.rounded_copies()? else {
            return Ok(Tensor::f_embedding(weight, rows, -1, false, false)?);
        };
        let OperandRows { operand, first, rows: count } = self.clusters.token_rows(k);
        // With their padding, so that each row begins at a multiple of 16 bytes.
        let table = copies.softmax[operand].f_narrow(0, first as i64, count as i64)?;
        let whole = Tensor::f_embedding(&table, rows, -1, false, false)?;
        Ok(whole.f_narrow(-1, 0, weight.size2()?.1)?)
    }

    /// The projection of cluster `k`, (E, width), if it has one.
    fn projection(&self, k: usize) -> Result<Option<Tensor>> {
        let Some(matrix) = &self.projections[k] else { return Ok(None) };
        let copy = self.rounded_copies()?.and_then(|copies| copies.projections[k].as_ref());
        Ok(Some(match copy {
            Some(copy) => matrix_of(copy, matrix.size2()?)?,
            None => matrix.shallow_clone(),
        }))
    }

    /// An id outside the vocabulary gives a row outside the cluster.
    fn cluster_rows(&self, tokens: &Tensor, cluster: usize) -> Result<ClusterRows> {
        let (first, size) = self.clusters.cluster(cluster);
        let (first, size) = (first as i64, size as i64);
        let from = if cluster == 0 { None } else { Some(tokens.f_ge(first)?) };
        let to = match cluster + 1 == self.clusters.len() {
            true => None,
            false => Some(tokens.f_lt(first + size)?),
        };
        let mask = match (from, to) {
            (Some(from), Some(to)) => Some(from.f_logical_and(&to)?),
            (from, to) => from.or(to),
        };
        let rows = tokens.f_sub_scalar(first)?;
        let rows = match &mask {
            None => rows,
            Some(mask) => rows.f_where_self(mask, &tokens.f_remainder(size)?)?,
        };
        Ok(ClusterRows { rows, mask })
    }

    /// The gradients of `objective` with respect to all parameters, in the order of [`QrnnLm::parameters`].
    ///
    /// * `embedded`: the leaf passed to [`QrnnLm::forward_embedded`];
    /// * `tokens`: its token ids, (seq, batch).
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub(crate) fn gradients(
        &self,
        objective: &Tensor,
        embedded: &Tensor,
        tokens: &Tensor,
    ) -> Result<Vec<Tensor>> {
        let (mut gradients, rows) = self.backward(objective, embedded)?;
        self.add_embedding(&mut gradients, tokens, &rows, AdditionOrder::Any)?;
        Ok(gradients)
    }

    /// As [`QrnnLm::gradients`], without the part of the embedding; and the gradient of `embedded`, (seq, batch, E),
    /// for [`QrnnLm::add_embedding`].
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub(crate) fn backward(
        &self,
        objective: &Tensor,
        embedded: &Tensor,
    ) -> Result<(Vec<Tensor>, Tensor)> {
        let parameters = self.parameters();
        let mut leaves: Vec<&Tensor> = parameters.iter().map(|(_, tensor)| *tensor).collect();
        leaves.push(embedded);
        let mut gradients = Tensor::f_run_backward(&[objective], &leaves, false, false)?;
        let rows = gradients.pop().unwrap_or_else(|| embedded.shallow_clone());
        Ok((gradients, rows))
    }

    /// Adds the part of the embedding to the gradients, row by row to that of the tied softmax weight. Autograd would
    /// allocate and add two dense tensors of the size of the vocabulary.
    ///
    /// * `gradients`: in the order of [`QrnnLm::parameters`];
    /// * `tokens`: token ids, (seq, batch); `rows`: the gradient of their embedding, (seq, batch, E).
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub(crate) fn add_embedding(
        &self,
        gradients: &mut [Tensor],
        tokens: &Tensor,
        rows: &Tensor,
        order: AdditionOrder,
    ) -> Result<()> {
        let _span = profile::span(Stage::Embedding);
        let rows = self.flat(rows)?;
        let tokens = tokens.f_view(-1)?;
        if self.config.widths.is_some() {
            return tch::no_grad(|| self.add_embedding_gradients(gradients, &tokens, &rows));
        }
        let Some(tied) = gradients.first_mut() else { return Ok(()) };
        let rows = rows.f_to_kind(tied.kind())?;
        let _ = match order {
            AdditionOrder::Any => tied.f_index_add_(0, &tokens, &rows)?,
            AdditionOrder::Fixed => tied.f_index_put_(&[Some(&tokens)], &rows, true)?,
        };
        Ok(())
    }

    /// Adds the gradients of clusters and projections by the embedding.
    ///
    /// * `gradients`: in the order of [`QrnnLm::parameters`];
    /// * `tokens`: (tokens); `embedded`: the gradient of their embedding, (tokens, E).
    fn add_embedding_gradients(
        &self,
        gradients: &mut [Tensor],
        tokens: &Tensor,
        embedded: &Tensor,
    ) -> Result<()> {
        let (weights, projections) = gradients.split_at_mut(self.softmax.weights.len());
        let mut projections = projections.iter_mut();
        for (k, gradient) in weights.iter_mut().enumerate() {
            let at = self.cluster_rows(tokens, k)?;
            let mut of_rows = at.masked(embedded)?;
            let matrix = self.projection(k)?;
            if let (Some(of_matrix), Some(matrix)) =
                (matrix.as_ref().and_then(|_| projections.next()), &matrix)
            {
                let rows = self.rows_of_weight(k, &at.rows)?;
                of_rows = self.add_projection_gradient(of_matrix, &of_rows, (&rows, matrix))?;
            }
            let _ = gradient.f_index_add_(0, &at.rows, &of_rows.f_to_kind(gradient.kind())?)?;
        }
        Ok(())
    }

    /// Adds to the gradient of a projection P, and returns that of the rows e, whose embedding is P e.
    ///
    /// * `of_embedding`: its gradient, (tokens, E);
    /// * `rows`: (tokens, width); `matrix`: (E, width).
    fn add_projection_gradient(
        &self,
        of_matrix: &mut Tensor,
        of_embedding: &Tensor,
        (rows, matrix): (&Tensor, &Tensor),
    ) -> Result<Tensor> {
        let transposed = of_embedding.f_tr()?;
        if of_embedding.kind() == of_matrix.kind() {
            let _ = of_matrix.f_addmm_(&transposed, rows)?;
            return Ok(of_embedding.f_matmul(matrix)?);
        }
        // Operands in bf16, sums in fp32.
        self.precision.multiply(of_matrix, &transposed, rows, Addend::Output)?;
        let out = Tensor::f_empty(rows.size(), (of_matrix.kind(), of_matrix.device()))?;
        self.precision.multiply(&out, of_embedding, matrix, Addend::Nothing)?;
        Ok(out)
    }

    /// The log probabilities' and losses' hidden states of a cluster: (…, E) or its projection, (…, width).
    ///
    /// * `output`: (…, E).
    pub(super) fn projected(&self, output: &Tensor, cluster: usize) -> Result<Tensor> {
        Ok(match self.projections.get(cluster) {
            Some(Some(matrix)) => {
                let packed =
                    self.packed_products()?.and_then(|all| all.projections[cluster].as_ref());
                let projected = match packed {
                    Some(packed) => packed.forward(output)?,
                    None => output.f_to_kind(matrix.kind())?.f_matmul(matrix)?,
                };
                self.input_rounding.apply(self.product_of_cluster(cluster), &projected)?
            }
            _ => output.shallow_clone(),
        })
    }

    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub(super) fn flat(&self, output: &Tensor) -> Result<Tensor> {
        Ok(output.f_reshape([-1, self.config.emsize as i64])?)
    }
}
