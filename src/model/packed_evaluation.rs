//! Evaluation and generation with the products of stored integers.

use std::sync::Arc;

use qrnn_ops::cuda;
use qrnn_ops::matmul::{Features, PackedLinear, Precision};
use qrnn_ops::split_softmax::{PackedSoftmax, Targets};
use tch::{Kind, Tensor};

use super::activations::{Activations, InputRounding};
use super::lm::QrnnLm;
use super::packed_products::{PackedProducts, PackedRoute};
use crate::Result;
use crate::packed::{PackedFile, PackedTensor, StoredTensor};

impl PackedProducts {
    /// `None` if a factor of a product is not stored as integers.
    fn of(model: &QrnnLm, file: &PackedFile, activations: &Activations) -> Result<Option<Self>> {
        let tensor = |name: &str| match file.tensors.get(name) {
            Some(StoredTensor::Packed(tensor)) => Some(tensor),
            _ => None,
        };
        let step = |product: usize| {
            let step = activations.steps.get(product).copied();
            step.filter(|step| *step > 0.0 && (1.0 / step).is_finite())
        };
        let linear = |tensor: &PackedTensor, step: f32, bias: Option<Vec<f32>>| -> Result<_> {
            Ok(PackedLinear::new(tensor.matrix()?, tensor.scales(), step, bias)?)
        };
        let mut layers = vec![];
        for (i, layer) in model.layers.iter().enumerate() {
            let weight = tensor(&format!("rnns.{i}.linear.weight"));
            let (Some(weight), Some(step)) = (weight, step(i)) else { return Ok(None) };
            layers.push(linear(weight, step, Some(values(&layer.bias)?))?);
        }
        let Some(of_output) = step(layers.len()) else { return Ok(None) };
        let mut projections = vec![];
        for (k, projection) in model.projections.iter().enumerate() {
            let weight = tensor(&format!("projections.{k}.weight"));
            projections.push(match (projection, weight) {
                (None, _) => None,
                // Rows of the stored matrix are columns of the product.
                (Some(_), Some(weight)) if weight.scales().len() == 1 => {
                    let matrix = weight.transposed_matrix()?;
                    Some(PackedLinear::new(matrix, weight.scales(), of_output, None)?)
                }
                (Some(_), _) => return Ok(None),
            });
        }
        let mut weights = vec![];
        for k in 0..model.softmax.weights.len() {
            let is_projected = projections.get(k).is_some_and(Option::is_some);
            let product = if is_projected { model.product_of_cluster(k) } else { layers.len() };
            let (Some(weight), Some(step)) = (tensor(&model.encoder(k)), step(product)) else {
                return Ok(None);
            };
            weights.push(linear(weight, step, None)?);
        }
        let tombstones = match (&model.softmax.tail, tensor("criterion.tail_vectors")) {
            (None, _) => None,
            (Some(_), Some(vectors)) => Some(linear(vectors, of_output, None)?),
            (Some(_), None) => return Ok(None),
        };
        let softmax = PackedSoftmax::new(&model.clusters, weights, tombstones, &model.softmax)?;
        Ok(Some(Self { layers, projections, softmax }))
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(Vec::try_from(tensor.f_detach()?)?)
}

impl QrnnLm {
    /// Sets whether a compressed model computes its products from the stored integers, which is the default. This holds
    /// for evaluation and generation on the CPU in single precision, if inputs of products are rounded; without it, and
    /// for other models, products are those of the decoded weights. Both give the same numbers up to the rounding of
    /// single precision; products of integers have no gradients.
    pub fn use_packed_products(&mut self, enabled: bool) {
        self.packed_route.enabled = enabled;
    }

    /// Whether products are computed from stored integers: see [`QrnnLm::use_packed_products`].
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if a matrix is larger than products take.
    pub fn uses_packed_products(&self) -> Result<bool> {
        Ok(self.packed_products()?.is_some())
    }

    /// The products from stored integers, if the model uses them.
    pub(super) fn packed_products(&self) -> Result<Option<&PackedProducts>> {
        let PackedRoute { enabled, products } = &self.packed_route;
        let InputRounding::Rounded(activations) = &self.input_rounding else { return Ok(None) };
        let Some(file) = &self.packed else { return Ok(None) };
        let (kind, device) = self.options;
        let computes_in_fp32 = self.precision == Precision::Single && kind == Kind::Float;
        if !enabled || !computes_in_fp32 || cuda::is_gpu(device) {
            return Ok(None);
        }
        if let Some(products) = products.get() {
            return Ok(products.as_deref());
        }
        let built = PackedProducts::of(self, file, activations)?.map(Arc::new);
        Ok(products.get_or_init(|| built).as_deref())
    }

    /// The hidden states of the softmax as [`QrnnLm::hidden_states`], and the products for them.
    ///
    /// * `output`: (…, E).
    fn packed_hidden_states(
        &self,
        products: &PackedProducts,
        output: &Tensor,
    ) -> Result<Vec<Tensor>> {
        let output = self.flat(output)?;
        let mut all = vec![output.shallow_clone()];
        for (k, projection) in products.projections.iter().enumerate() {
            if let Some(projection) = projection {
                let projected = projection.forward(&output)?;
                all.push(self.input_rounding.apply(self.product_of_cluster(k), &projected)?);
            }
        }
        Ok(all)
    }

    /// The cross entropy of each target, in nats, if products are packed.
    pub(super) fn packed_token_losses(
        &self,
        output: &Features,
        targets: &Targets,
    ) -> Result<Option<Vec<f64>>> {
        let (Some(products), Targets::Host(tokens)) = (self.packed_products()?, targets) else {
            return Ok(None);
        };
        let _no_grad = tch::no_grad_guard();
        let hidden = self.packed_hidden_states(products, &output.view()?)?;
        Ok(Some(products.softmax.token_losses(&hidden, tokens)?))
    }

    /// [`QrnnLm::log_probabilities`], if products are packed.
    pub(super) fn packed_log_probabilities(&self, output: &Tensor) -> Result<Option<Tensor>> {
        let Some(products) = self.packed_products()? else { return Ok(None) };
        let _no_grad = tch::no_grad_guard();
        let hidden = self.packed_hidden_states(products, output)?;
        Ok(Some(products.softmax.log_probabilities(&hidden)?))
    }
}

#[cfg(test)]
#[path = "packed_evaluation_tests.rs"]
pub(crate) mod tests;
