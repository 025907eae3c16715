//! The QRNN layer: a linear map of x_t, or of x_t and x_{t-1}, and fo-pooling.

use tch::Tensor;

use super::config::LayerShape;
use super::dropout::LayerMasks;
use crate::Result;
use qrnn_ops::fo_pool::{FoPoolOptions, Zoneout, fo_pool_features};
use qrnn_ops::matmul::{Features, PackedLinear, Precision, linear_of_features};

/// The parameters of a QRNN layer.
#[derive(Debug)]
pub struct QrnnLayer {
    /// The shape of the layer.
    pub shape: LayerShape,
    /// (3 H, window × input): rows z, f, o; columns x_t, then x_{t-1}.
    pub weight: Tensor,
    /// (3 H).
    pub bias: Tensor,
}

/// Options of a forward pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass<'a> {
    /// The masks in training; `None` in evaluation.
    pub masks: Option<&'a LayerMasks>,
    /// Whether to apply the dropout mask of the output; otherwise the caller applies it.
    pub drop_output: bool,
    /// Zoneout probability, for the scale in evaluation.
    pub zoneout: f64,
    /// Precision of the linear map.
    pub precision: Precision,
    /// Weight and bias as an operand of the matmul, if available (CUDA).
    pub operand: Option<&'a Tensor>,
    /// The linear map on stored integers, without gradients, in place of weight and bias.
    pub packed: Option<&'a PackedLinear>,
}

impl QrnnLayer {
    /// Runs the layer over a window. Returns the output h, (seq, batch, H), and the final state c, (batch, H).
    ///
    /// * `x`: (seq, batch, window × input);
    /// * `initial_state`: (batch, H), the state c before the window.
    pub(super) fn forward(
        &self,
        x: &Features,
        initial_state: &Tensor,
        pass: &Pass<'_>,
    ) -> Result<(Features, Tensor)> {
        let gates = self.gates(x, pass)?;
        let kind = gates.all.kind();
        let zoneout = match pass.masks {
            None if pass.zoneout > 0.0 => Zoneout::Scaled(1.0 - pass.zoneout),
            None => Zoneout::Off,
            Some(masks) => match &masks.zoneout {
                Some(mask) => Zoneout::Masked(mask.f_to_kind(kind)?),
                None => Zoneout::Off,
            },
        };
        let mask = pass.masks.filter(|_| pass.drop_output).and_then(|masks| masks.output.as_ref());
        let mask = mask.map(|mask| mask.f_to_kind(kind)).transpose()?;
        Ok(fo_pool_features(&gates, initial_state, FoPoolOptions { zoneout, dropout: mask })?)
    }

    /// The linear map: z, f and o before activation, concatenated to 3 H features.
    pub(super) fn gates(&self, x: &Features, pass: &Pass<'_>) -> Result<Features> {
        let Pass { masks, precision, operand, packed, .. } = *pass;
        if let Some(packed) = packed {
            let width = packed.rows() as i64;
            return Ok(Features { all: packed.forward(&x.view()?)?, width });
        }
        Ok(match masks.and_then(|masks| masks.weight.as_ref()) {
            Some(mask) => {
                let weight = self.weight.f_mul(mask)?;
                linear_of_features(x, &weight, &self.bias, precision, None)?
            }
            None => linear_of_features(x, &self.weight, &self.bias, precision, operand)?,
        })
    }
}
