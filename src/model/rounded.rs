//! Rounds the weights once for many evaluations.

use tch::Tensor;

use qrnn_ops::split_softmax::SoftmaxWeights;

use super::activations::{Activations, InputRounding};
use super::layer::QrnnLayer;
use super::lm::QrnnLm;
use super::packed_products::PackedRoute;
use crate::Result;
use qrnn_ops::cuda;

impl QrnnLm {
    /// A model for many forward passes without gradients: weight matrices are rounded once to the precision
    /// of the matmuls. Other tensors are shared.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub(crate) fn rounded(&self) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        // Builds them once, for the copies too.
        self.packed_products()?;
        if !cuda::is_gpu(self.options.1) {
            return self.with_matrices(|matrix| Ok(self.precision.operand(matrix)?));
        }
        // On CUDA, matmuls read separate copies, so the parameters are shared.
        let mut model = self.with_matrices(|matrix| Ok(matrix.shallow_clone()))?;
        model.refresh_operands()?;
        Ok(model)
    }

    /// A model with `convert` applied to each parameter, in the order of [`QrnnLm::parameters`], whose inputs of products
    /// are rounded to these grids.
    ///
    /// # Errors
    /// Those of `convert`.
    pub(crate) fn with_parameters(
        &self,
        activations: Option<Activations>,
        mut convert: impl FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let weights = self.softmax.weights.iter().map(&mut convert).collect::<Result<_>>()?;
        let projections = self.projections.iter();
        let projections = projections.map(|matrix| matrix.as_ref().map(&mut convert).transpose());
        let projections = projections.collect::<Result<_>>()?;
        let layers = self.layers.iter().map(|layer| {
            let (weight, bias) = (convert(&layer.weight)?, convert(&layer.bias)?);
            Ok(QrnnLayer { shape: layer.shape, weight, bias })
        });
        let layers = layers.collect::<Result<_>>()?;
        let bias = convert(&self.softmax.bias)?;
        let tail = match &self.softmax.tail {
            Some((vectors, scalars)) => Some((convert(vectors)?, convert(scalars)?)),
            None => None,
        };
        let softmax = SoftmaxWeights { weights, bias, tail };
        let input_rounding = activations.map_or(InputRounding::Off, InputRounding::Rounded);
        Ok(Self {
            config: self.config.clone(),
            vocab: self.vocab.clone(),
            ids: self.ids,
            options: self.options,
            precision: self.precision,
            clusters: self.clusters.clone(),
            operands: None,
            copy_grids: None,
            layers,
            softmax,
            projections,
            input_rounding,
            packed: None,
            packed_route: PackedRoute::default(),
        })
    }

    /// A model with `convert` applied to each weight matrix. Biases are shared.
    fn with_matrices(&self, convert: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let mut model =
            self.with_parameters(self.activations().cloned(), |parameter| match parameter.dim() {
                2 => convert(parameter),
                _ => Ok(parameter.shallow_clone()),
            })?;
        model.packed = self.packed.clone();
        model.packed_route = self.packed_route.clone();
        Ok(model)
    }
}
