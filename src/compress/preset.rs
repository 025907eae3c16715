//! Plans of the models that score below a tenth of the baseline.

use std::str::FromStr;

use super::plan::Plan;
use crate::model::{LmConfig, Splits};
use crate::{Error, Result};

/// A model with its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    pub name: &'static str,
    /// Percent of zeros in the layers.
    layer_zeros: u32,
}

/// The plans that have names. Both are of the entry's size with an adaptive embedding of widths 300, 75 and 5 in clusters
/// that begin at 3,500 and 25,000 (those of MIT-HAN-Lab's entry), weights and activations of 8 bits, and a neural cache of
/// 2,000 tokens.
pub const PRESETS: [Preset; 2] =
    [Preset { name: "micronet", layer_zeros: 60 }, Preset { name: "light", layer_zeros: 80 }];

impl FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        PRESETS.into_iter().find(|preset| preset.name == name).ok_or_else(|| {
            let names = PRESETS.map(|preset| preset.name).join(" or ");
            Error::config("preset", name, "there is no such preset", format!("use {names}"))
        })
    }
}

impl Preset {
    /// The model at full size.
    pub fn config(self) -> LmConfig {
        LmConfig::paper(300, 1800)
            .bptt(300)
            .splits(Splits::At(vec![3_500, 25_000]))
            .widths([300, 75, 5])
    }

    /// The plan for a model, which may have other clusters than [`Preset::config`]: the first is pruned least, since its
    /// words are frequent.
    pub fn plan(self, config: &LmConfig) -> Plan {
        let plan =
            Plan::new().zeros("rnns", f64::from(self.layer_zeros) / 100.0).activation_bits(8);
        match config.widths.as_ref().map(Vec::len) {
            None => plan.zeros("encoder", 0.35),
            Some(clusters) => (0..clusters).fold(plan, |plan, k| {
                plan.zeros(format!("encoder.{k}"), if k == 0 { 0.2 } else { 0.4 })
            }),
        }
    }

    /// Tokens of the neural cache.
    pub fn cache(self) -> usize {
        2_000
    }
}
