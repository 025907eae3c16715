//! One QRNN layer: a linear map of x_t, or of x_t and x_{t-1}, and fo-pooling.

use tch::Tensor;

use super::config::LayerShape;
use super::dropout::LayerDropouts;
use crate::Result;
use crate::matmul::{Products, linear};
use crate::pool::{Pooled, Zoneout, fo_pool_locked};

/// A layer's parameters.
#[derive(Debug)]
pub struct QrnnLayer {
    /// Sizes.
    pub shape: LayerShape,
    /// (3 H, window × input): rows z, f, o; columns x_t, then x_{t-1}.
    pub weight: Tensor,
    /// (3 H).
    pub bias: Tensor,
}

impl QrnnLayer {
    /// Runs the layer over a window.
    ///
    /// * `x`: (seq, batch, input);
    /// * `before`: (batch, H), the state c before the window;
    /// * `x_before`: (batch, input), the last input of the window before; used with window 2 only;
    /// * `drops`: the masks in training, `None` in evaluation;
    /// * `locked`: whether the output is to be dropped; else its mask is left to the caller;
    /// * `zoneout`: probability, for the scale in evaluation;
    /// * `products`: how the linear map is computed.
    #[allow(clippy::too_many_arguments)]
    pub fn forward(
        &self,
        x: &Tensor,
        before: &Tensor,
        x_before: &Tensor,
        drops: Option<&LayerDropouts>,
        locked: bool,
        zoneout: f64,
        products: Products,
    ) -> Result<Pooled> {
        let gates = self.gates(x, x_before, drops, products)?;
        let zoneout = match drops {
            None if zoneout > 0.0 => Zoneout::Scaled(1.0 - zoneout),
            None => Zoneout::Off,
            Some(drops) => match &drops.zoneout {
                Some(mask) => Zoneout::Masked(mask.f_to_kind(gates.kind())?),
                None => Zoneout::Off,
            },
        };
        let mask = drops.filter(|_| locked).and_then(|drops| drops.output.as_ref());
        let mask = mask.map(|mask| mask.f_to_kind(gates.kind())).transpose()?;
        fo_pool_locked(&gates, before, zoneout, mask.as_ref())
    }

    /// The linear map: z, f and o before activation, side by side, (seq, batch, 3 H).
    pub(super) fn gates(
        &self,
        x: &Tensor,
        x_before: &Tensor,
        drops: Option<&LayerDropouts>,
        products: Products,
    ) -> Result<Tensor> {
        let source = match self.shape.window {
            1 => x.shallow_clone(),
            _ => {
                let seq = x.size()[0];
                let first = x_before.f_to_kind(x.kind())?.f_unsqueeze(0)?;
                let shifted = Tensor::f_cat(&[first, x.f_narrow(0, 0, seq - 1)?], 0)?;
                Tensor::f_cat(&[x, &shifted], 2)?
            }
        };
        let weight = match drops.and_then(|drops| drops.weight.as_ref()) {
            Some(mask) => self.weight.f_mul(mask)?,
            None => self.weight.shallow_clone(),
        };
        linear(&source, &weight, &self.bias, products)
    }
}
