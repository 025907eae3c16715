//! The memory that a training run takes on the CPU, told before it is taken.

use super::recipe::{OptimizerKind, Recipe};
use crate::model::LmConfig;
use crate::{Error, Result};
use qrnn_ops::is_out_of_memory;

/// Bytes of an f32.
const FLOAT: u64 = 4;

/// What libtorch, the program and the text take, in bytes; fitted, as the 8/5 below, to the sizes of
/// the test.
const PROGRAM: u64 = 130_000_000;

/// A bound on estimates: what was measured at four sizes (see the test) lay between 0.83 and 1.33 of
/// them.
const SURE: f64 = 0.7;

/// An estimate, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Weights, their gradients, the optimizer's state and the best epoch's weights.
    pub weights: u64,
    /// What a step of full length keeps for its backward pass, and what that pass takes.
    pub step: u64,
}

impl Memory {
    /// For a model, a recipe and a training text of so many words.
    pub fn estimate(config: &LmConfig, recipe: &Recipe, text: usize) -> Self {
        let copies = match recipe.optimizer {
            OptimizerKind::Adam => 5,
            // Descent may turn to averaging.
            OptimizerKind::Asgd | OptimizerKind::Sgd => 4,
        };
        // Of a row: the input, z, f, o, c, h and the dropped h; the backward pass takes about
        // three fifths as much again.
        let shapes = config.layer_shapes();
        let kept = shapes.iter().map(|shape| shape.window * shape.input + 6 * shape.output);
        let row = kept.sum::<usize>() as u64 * 8 / 5;
        let rows = (recipe.bptt as u64).saturating_mul(recipe.batch as u64).min(text as u64);
        Self {
            weights: config.parameters().saturating_mul(FLOAT * copies),
            step: rows.saturating_mul(row).saturating_mul(FLOAT),
        }
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.step).saturating_add(PROGRAM)
    }

    /// The refusal of a run that this machine, or its control group, has too little memory for
    /// even if all else were stopped.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn check(&self) -> Result<()> {
        match limit() {
            Some(limit) if self.total() as f64 * SURE > limit as f64 => {
                Err(self.error(format!("this machine has {}", size(limit))))
            }
            _ => Ok(()),
        }
    }

    /// libtorch's answer where memory ran out, with what the run needs and which flags lower it;
    /// any other error as it is.
    pub(super) fn explain(&self, error: Error) -> Error {
        match &error {
            Error::Ops(qrnn_ops::Error::Torch(torch)) if is_out_of_memory(&torch.to_string()) => {
                self.error("the system gave no more".into())
            }
            _ => error,
        }
    }

    fn error(&self, problem: String) -> Error {
        let flags = if self.step > self.weights {
            "lower --batch-size or --bptt: most of it is one step's activations"
        } else {
            "lower --emsize or --nhid: most of it is weights and what the optimizer keeps of them"
        };
        let parts = [self.weights, self.step].map(size);
        Error::Memory {
            needed: format!(
                "about {} ({} for weights and optimizer, {} for a step)",
                size(self.total()),
                parts[0],
                parts[1]
            ),
            problem,
            remedy: flags.into(),
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Memory and swap of the machine, or of the control group if that has less. `None` where the
/// system does not tell.
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

    #[test]
    fn what_was_measured_is_near_the_estimate() {
        // Peak of three steps of fixed length, in MB: `reproduce train --fixed-bptt --steps 3`.
        for (config, recipe, measured) in [
            (LmConfig::paper(300, 1800).vocab(4132), Recipe::paper().bptt(140).batch(20), 1137.0),
            (LmConfig::paper(100, 600).vocab(4132), Recipe::paper().bptt(70).batch(40), 404.0),
            (LmConfig::paper(100, 600).vocab(4132), Recipe::paper().bptt(70).batch(160), 1039.0),
            (LmConfig::paper(400, 400).vocab(28_441), Recipe::paper().bptt(70).batch(20), 677.0),
        ] {
            let estimate = Memory::estimate(&config, &recipe, usize::MAX).total() as f64 / 1e6;
            let ratio = measured / estimate;
            assert!((SURE..1.4).contains(&ratio), "{measured} MB and {estimate} MB");
        }
    }

    #[test]
    fn a_run_that_cannot_fit_is_refused_with_the_flag_that_helps() {
        let refusal = |config: LmConfig, recipe: Recipe| {
            Memory::estimate(&config, &recipe, usize::MAX).check().unwrap_err().to_string()
        };
        let wide = refusal(LmConfig::paper(300, 400_000), Recipe::paper());
        assert!(wide.contains("--nhid") && wide.contains("GB"), "{wide}");
        let long = refusal(LmConfig::paper(30, 180), Recipe::paper().batch(40_000_000));
        assert!(long.contains("--batch-size"), "{long}");
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
