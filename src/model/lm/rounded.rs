//! A model whose matrices are rounded before the first of many products.

use tch::Tensor;

use super::{QrnnLayer, QrnnLm, SoftmaxWeights};
use crate::{Result, cuda};

impl QrnnLm {
    /// The same model to be read many times without gradients: its matrices are rounded once to the
    /// format of its products. What needs no rounding is shared.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub(crate) fn rounded(&self) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        if cuda::is_gpu(self.options.1) {
            return self.with_operands();
        }
        let round = |matrix: &Tensor| self.products.operand(matrix);
        let softmax = &self.softmax;
        let layer = |layer: &QrnnLayer| -> Result<QrnnLayer> {
            let (weight, bias) = (round(&layer.weight)?, layer.bias.shallow_clone());
            Ok(QrnnLayer { shape: layer.shape, weight, bias })
        };
        let tail = match &softmax.tail {
            Some((vectors, scalars)) => Some((round(vectors)?, scalars.shallow_clone())),
            None => None,
        };
        Ok(Self {
            config: self.config.clone(),
            options: self.options,
            products: self.products,
            clusters: self.clusters.clone(),
            operands: None,
            layers: self.layers.iter().map(layer).collect::<Result<_>>()?,
            softmax: SoftmaxWeights {
                weight: round(&softmax.weight)?,
                bias: softmax.bias.shallow_clone(),
                tail,
            },
        })
    }

    /// The same model with the same parameters.
    pub(super) fn shared(&self) -> Self {
        let layer = |layer: &QrnnLayer| QrnnLayer {
            shape: layer.shape,
            weight: layer.weight.shallow_clone(),
            bias: layer.bias.shallow_clone(),
        };
        let softmax = &self.softmax;
        let tail = softmax.tail.as_ref();
        Self {
            config: self.config.clone(),
            options: self.options,
            products: self.products,
            clusters: self.clusters.clone(),
            operands: None,
            layers: self.layers.iter().map(layer).collect(),
            softmax: SoftmaxWeights {
                weight: softmax.weight.shallow_clone(),
                bias: softmax.bias.shallow_clone(),
                tail: tail.map(|(v, s)| (v.shallow_clone(), s.shallow_clone())),
            },
        }
    }
}
