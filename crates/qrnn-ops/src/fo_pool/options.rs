//! Arguments and results of fo-pooling.

use tch::Tensor;

use crate::Result;

/// Zoneout of the forget gate (Krueger et al. 2016, as pytorch-qrnn applies it).
#[derive(Debug, Default)]
pub enum Zoneout {
    /// No zoneout.
    #[default]
    Off,
    /// Evaluation: multiplies the gate by the expected mask, 1 - p.
    Scaled(f64),
    /// Training: multiplies the gate by a mask of zeros and ones, (seq, batch, hidden).
    Masked(Tensor),
}

/// Results of [`super::fo_pool`].
#[derive(Debug)]
pub struct Pooled {
    /// The hidden states h, (seq, batch, hidden).
    pub output: Tensor,
    /// The final state c, (batch, hidden): the initial state of the next batch.
    pub state: Tensor,
}

/// Options of [`super::fo_pool`]. Masks have the gates' kind and device.
#[derive(Debug, Default)]
pub struct FoPoolOptions {
    /// Zoneout of the forget gate.
    pub zoneout: Zoneout,
    /// Locked dropout of the output: a mask (batch, hidden) or (1, batch, hidden) that multiplies h
    /// at every time step. It gets no gradient.
    pub dropout: Option<Tensor>,
}

impl From<Zoneout> for FoPoolOptions {
    fn from(zoneout: Zoneout) -> Self {
        Self { zoneout, dropout: None }
    }
}

impl FoPoolOptions {
    pub(super) fn contiguous(&self) -> Result<Self> {
        let zoneout = match &self.zoneout {
            Zoneout::Off => Zoneout::Off,
            Zoneout::Scaled(scale) => Zoneout::Scaled(*scale),
            Zoneout::Masked(mask) => Zoneout::Masked(mask.f_contiguous()?),
        };
        let dropout = self.dropout.as_ref().map(Tensor::f_contiguous).transpose()?;
        Ok(Self { zoneout, dropout })
    }
}

/// Names the two outputs of the operation.
pub(super) fn pooled(outputs: Vec<Tensor>) -> Result<Pooled> {
    match <[Tensor; 2]>::try_from(outputs) {
        Ok([output, state]) => Ok(Pooled { output, state }),
        Err(_) => unreachable!("fo-pooling returns two outputs"),
    }
}
