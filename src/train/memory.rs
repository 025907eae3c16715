//! Estimates the memory of a training run on the CPU before it starts.

use super::recipe::{OptimizerKind, Recipe};
use crate::model::LmConfig;
use crate::{Error, Result};
use qrnn_ops::is_out_of_memory;

/// Bytes of an f32.
const F32_BYTES: u64 = 4;

/// Bytes for libtorch, the program and the text; fitted, like the factor 8/5 below, to the peak resident memory
/// of runs of (emsize, nhid, bptt, batch) = (300, 1800, 140, 20): 1137 MB, (100, 600, 70, 40): 404 MB,
/// (100, 600, 70, 160): 1039 MB.
const BASE: u64 = 130_000_000;

/// A run is refused only if this share of its estimate exceeds the limit: measurements lie between 0.83 and
/// 1.33 times the estimate.
const REFUSED_SHARE: f64 = 0.7;

/// Estimated memory of a training run, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Weights, their gradients, the optimizer's state and the best epoch's weights.
    pub weights: u64,
    /// Activations saved by a step of full length, and the temporaries of its backward pass.
    pub step: u64,
}

impl Memory {
    /// Estimates the memory of training on a text of `train_tokens` tokens.
    pub fn estimate(config: &LmConfig, recipe: &Recipe, train_tokens: usize) -> Self {
        let copies = match recipe.optimizer {
            OptimizerKind::Adam => 5,
            // SGD may switch to averaging.
            OptimizerKind::Asgd | OptimizerKind::Sgd => 4,
        };
        // Saved per token and layer: the input, z, f, o, c, h and h after dropout. The backward pass
        // needs about 3/5 of that in addition.
        let shapes = config.layer_shapes();
        let saved = shapes.iter().map(|shape| shape.window * shape.input + 6 * shape.output);
        let row = saved.sum::<usize>() as u64 * 8 / 5;
        let rows =
            (recipe.bptt as u64).saturating_mul(recipe.batch as u64).min(train_tokens as u64);
        Self {
            weights: config.parameters().saturating_mul(F32_BYTES * copies),
            step: rows.saturating_mul(row).saturating_mul(F32_BYTES),
        }
    }

    /// Total in bytes, including the program itself.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.step).saturating_add(BASE)
    }

    /// Refuses a run that does not fit into the memory and swap of this machine or its control group.
    ///
    /// # Errors
    /// [`Error::Memory`], with the estimate and the flags that lower it.
    pub fn check(&self) -> Result<()> {
        match limit() {
            Some(limit) if self.total() as f64 * REFUSED_SHARE > limit as f64 => {
                Err(self.error(format!("this machine has {}", size(limit))))
            }
            _ => Ok(()),
        }
    }

    /// Turns an out-of-memory error of libtorch into [`Error::Memory`]; returns other errors unchanged.
    pub(super) fn explain(&self, error: Error) -> Error {
        match &error {
            Error::Ops(qrnn_ops::Error::Torch(torch)) if is_out_of_memory(&torch.to_string()) => {
                self.error("an allocation failed".into())
            }
            _ => error,
        }
    }

    fn error(&self, problem: String) -> Error {
        let remedy = if self.step > self.weights {
            "lower recipe.batch or recipe.bptt: the activations of a step need most of it"
        } else {
            "lower config.emsize or config.nhid: weights and optimizer state need most of it"
        };
        Error::Memory {
            needed: format!(
                "about {} ({} for weights and optimizer, {} for the activations of a step)",
                size(self.total()),
                size(self.weights),
                size(self.step)
            ),
            problem,
            remedy: remedy.into(),
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Bytes of memory and swap of the machine, or the limit of the control group if that is lower. `None`
/// if the system does not report them.
fn limit() -> Option<u64> {
    let table = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = table.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    let machine = field("MemTotal:")? + field("SwapTotal:").unwrap_or(0);
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    Some(group.and_then(|group| group.trim().parse().ok()).map_or(machine, |n| machine.min(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes that were not used to fit the constants.
    #[test]
    fn estimates_are_near_measurements() {
        // Peak resident MB of `reproduce train --fixed-bptt --steps 3 --precision fp32`.
        for (emsize, nhid, bptt, batch, measured) in [
            (200, 1000, 100, 30, 641.144),
            (60, 360, 70, 80, 455.564),
            (256, 256, 140, 40, 488.672),
            (300, 900, 35, 20, 394.564),
        ] {
            let config = LmConfig::paper(emsize, nhid).vocab(4132);
            let recipe = Recipe::paper().bptt(bptt).batch(batch);
            let estimate = Memory::estimate(&config, &recipe, usize::MAX).total() as f64 / 1e6;
            let ratio = measured / estimate;
            assert!((REFUSED_SHARE..1.4).contains(&ratio), "{measured} MB and {estimate} MB");
        }
    }

    #[test]
    fn a_run_that_cannot_fit_is_refused_and_the_message_names_the_flag_to_lower() {
        let message_of = |config: LmConfig, recipe: Recipe| {
            Memory::estimate(&config, &recipe, usize::MAX).check().unwrap_err().to_string()
        };
        let wide = message_of(LmConfig::paper(300, 400_000), Recipe::paper());
        assert!(wide.contains("config.nhid") && wide.contains("GB"), "{wide}");
        let long = message_of(LmConfig::paper(30, 180), Recipe::paper().batch(40_000_000));
        assert!(long.contains("recipe.batch"), "{long}");
        assert!(
            Memory::estimate(&LmConfig::paper(30, 180), &Recipe::paper(), usize::MAX)
                .check()
                .is_ok()
        );
        let memory = Memory::estimate(&LmConfig::paper(30, 180), &Recipe::paper(), usize::MAX);
        let torch = tch::TchError::Torch(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes".into(),
        );
        assert!(matches!(memory.explain(Error::from(torch)), Error::Memory { .. }));
    }
}
