//! A model whose matrices are rounded before the first of many products.

use tch::Tensor;

use qrnn_ops::split_softmax::SoftmaxWeights;

use super::layer::QrnnLayer;
use super::lm::QrnnLm;
use crate::Result;
use qrnn_ops::cuda;

impl QrnnLm {
    /// The same model to be read many times without gradients: its matrices are rounded once to the
    /// format of its products. What needs no rounding is shared.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] where memory runs out.
    pub(crate) fn rounded(&self) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        if !cuda::is_gpu(self.options.1) {
            return self.with_matrices(|matrix| Ok(self.precision.operand(matrix)?));
        }
        // A GPU's products read copies beside the parameters, which stay as they are.
        let mut model = self.with_matrices(|matrix| Ok(matrix.shallow_clone()))?;
        model.refresh_operands()?;
        Ok(model)
    }

    /// A model with what `change` makes of each matrix; biases are shared.
    fn with_matrices(&self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let softmax = &self.softmax;
        let layer = |layer: &QrnnLayer| -> Result<QrnnLayer> {
            let (weight, bias) = (change(&layer.weight)?, layer.bias.shallow_clone());
            Ok(QrnnLayer { shape: layer.shape, weight, bias })
        };
        let tail = match &softmax.tail {
            Some((vectors, scalars)) => Some((change(vectors)?, scalars.shallow_clone())),
            None => None,
        };
        Ok(Self {
            config: self.config.clone(),
            vocab: self.vocab.clone(),
            options: self.options,
            precision: self.precision,
            clusters: self.clusters.clone(),
            operands: None,
            layers: self.layers.iter().map(layer).collect::<Result<_>>()?,
            softmax: SoftmaxWeights {
                weight: change(&softmax.weight)?,
                bias: softmax.bias.shallow_clone(),
                tail,
            },
        })
    }
}
