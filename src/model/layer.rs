//! One QRNN layer: a linear map of x_t, or of x_t and x_{t-1}, and fo-pooling.

use tch::Tensor;

use super::config::LayerShape;
use super::dropout::LayerDropouts;
use crate::matmul::{Products, linear};
use crate::pool::{Pooled, Zoneout, fo_pool_locked};
use crate::{Result, profile};

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

/// What a layer's pass over a window is given beside input and state.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// (batch, input), the last input of the window before; used with window 2 only.
    pub x_before: &'a Tensor,
    /// The masks in training, `None` in evaluation.
    pub drops: Option<&'a LayerDropouts>,
    /// Whether the output is to be dropped; else its mask is left to the caller.
    pub locked: bool,
    /// Probability, for the scale in evaluation.
    pub zoneout: f64,
    /// How the linear map is computed.
    pub products: Products,
}

impl QrnnLayer {
    /// Runs the layer over a window.
    ///
    /// * `x`: (seq, batch, input);
    /// * `before`: (batch, H), the state c before the window.
    pub fn forward(&self, x: &Tensor, before: &Tensor, pass: &Pass<'_>) -> Result<Pooled> {
        let gates = self.gates(x, pass.x_before, pass.drops, pass.products)?;
        let zoneout = match pass.drops {
            None if pass.zoneout > 0.0 => Zoneout::Scaled(1.0 - pass.zoneout),
            None => Zoneout::Off,
            Some(drops) => match &drops.zoneout {
                Some(mask) => Zoneout::Masked(mask.f_to_kind(gates.kind())?),
                None => Zoneout::Off,
            },
        };
        let mask = pass.drops.filter(|_| pass.locked).and_then(|drops| drops.output.as_ref());
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
                let _stage = profile::stage("input shifted");
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
