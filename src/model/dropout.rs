//! Dropout masks of a training step. CPU and CUDA sample the same masks from the same random stream.

use qrnn_ops::dropout_mask::{Bernoulli, MaskSampler};
use tch::{Device, Kind, Tensor};

use super::config::LmConfig;
use crate::Result;
use crate::random::Stream;
use qrnn_ops::profile::{self, Stage};

/// The dropout masks of one forward pass; `None` without dropout.
///
/// Masks hold 0 and 1 / (1 - p); those of zoneout hold 0 and 1. They are sampled apart from the forward
/// pass, so tests can use fixed masks.
#[derive(Debug, Default)]
pub struct DropoutMasks {
    /// (vocab), on the rows of the embedding (dropoute).
    pub words: Option<Tensor>,
    /// (1, batch, E), on the embedded tokens (dropouti).
    pub input: Option<Tensor>,
    /// One entry per layer; may be empty without dropout in the layers.
    pub layers: Vec<LayerMasks>,
}

/// The masks of one layer.
#[derive(Debug, Default)]
pub struct LayerMasks {
    /// (3 H, window × input), on the linear weight (wdrop).
    pub weight: Option<Tensor>,
    /// (seq, batch, H), on the forget gate (zoneout).
    pub zoneout: Option<Tensor>,
    /// (1, batch, H), on the output (hidden dropout, or output dropout for the last layer).
    pub output: Option<Tensor>,
}

/// Kinds and device of the masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskOptions {
    /// Kind of the masks on weights and embeddings: that of the weights.
    pub weights: Kind,
    /// Kind of the masks on gates and layer outputs.
    pub activations: Kind,
    /// The device of all masks.
    pub device: Device,
}

impl DropoutMasks {
    /// Samples the masks of a training step on a (seq, batch) input.
    ///
    /// Each element of each mask consumes one 32-bit word of `stream`, in the order of the fields, on every
    /// device.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out or a CUDA kernel cannot be compiled or launched;
    /// [`crate::Error::Unavailable`] if CUDA is not available.
    pub fn sample(
        config: &LmConfig,
        seq: i64,
        batch: i64,
        options: MaskOptions,
        stream: Stream,
    ) -> Result<Self> {
        let mut sampler = MaskSampler::new(options.device, stream.key())?;
        let _span = profile::span(Stage::DropoutMasks);
        let weights = (options.weights, options.device);
        let activations = (options.activations, options.device);
        let words = sampler.sample(
            Bernoulli::dropout(config.embedding_dropout),
            &[config.vocab as i64],
            weights,
        )?;
        let emsize = config.emsize as i64;
        let input = sampler.sample(
            Bernoulli::dropout(config.input_dropout),
            &[1, batch, emsize],
            weights,
        )?;
        let mut layers = vec![];
        for (i, shape) in config.layer_shapes().iter().enumerate() {
            let hidden = shape.output as i64;
            let linear = [shape.rows() as i64, shape.columns() as i64];
            let last = i + 1 == config.layers;
            let p = if last { config.output_dropout } else { config.hidden_dropout };
            layers.push(LayerMasks {
                weight: sampler.sample(Bernoulli::dropout(config.weight_drop), &linear, weights)?,
                zoneout: sampler.sample(
                    Bernoulli::zoneout(config.zoneout),
                    &[seq, batch, hidden],
                    activations,
                )?,
                output: sampler.sample(Bernoulli::dropout(p), &[1, batch, hidden], activations)?,
            });
        }
        Ok(Self { words, input, layers })
    }

    /// All masks, in the order in which they consume the stream.
    #[cfg(test)]
    fn masks(&self) -> impl Iterator<Item = &Tensor> {
        let of_layers =
            self.layers.iter().flat_map(|layer| [&layer.weight, &layer.zoneout, &layer.output]);
        [&self.words, &self.input].into_iter().chain(of_layers).flatten()
    }
}

#[cfg(test)]
mod tests {
    use qrnn_ops::cuda::Clock;
    use qrnn_ops::cuda::host_shim::as_on_a_gpu;

    use super::*;
    use crate::random::Purpose;

    const CPU: MaskOptions =
        MaskOptions { weights: Kind::Float, activations: Kind::Float, device: Device::Cpu };
    const STREAM: Stream = Stream { seed: 1, purpose: Purpose::Dropout, counter: 0 };

    #[test]
    fn masks_have_the_documented_shapes_and_mean_one() {
        let config =
            LmConfig::paper(40, 60).vocab(500).embedding_dropout(0.2).weight_drop(0.5).zoneout(0.3);
        let masks = DropoutMasks::sample(&config, 7, 5, CPU, STREAM).unwrap();
        let size = |mask: &Option<Tensor>| mask.as_ref().unwrap().size();
        assert_eq!(size(&masks.words), [500]);
        assert_eq!(size(&masks.input), [1, 5, 40]);
        assert_eq!(size(&masks.layers[0].weight), [180, 80]);
        assert_eq!(size(&masks.layers[1].zoneout), [7, 5, 60]);
        assert_eq!(size(&masks.layers[3].output), [1, 5, 40]);
        let mean = masks.layers[0].weight.as_ref().unwrap().mean(Kind::Double).double_value(&[]);
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
    }

    #[test]
    fn no_mask_is_sampled_without_dropout() {
        let config = LmConfig::paper(4, 6).vocab(5).locked_dropouts(0.0, 0.0, 0.0);
        let masks = DropoutMasks::sample(&config, 7, 5, CPU, STREAM).unwrap();
        assert!(masks.words.is_none() && masks.input.is_none());
        assert!(masks.layers.iter().all(|l| l.weight.is_none() && l.output.is_none()));
    }

    /// Compares the masks of a step on `device` (on the CPU: of the host shim) with those of the CPU.
    fn check_step(device: Device, config: &LmConfig, (seq, batch): (i64, i64), activations: Kind) {
        let stream = Stream { seed: 1882, purpose: Purpose::Dropout, counter: 41 };
        let sample = |device| {
            let options = MaskOptions { weights: Kind::Float, activations, device };
            DropoutMasks::sample(config, seq, batch, options, stream).unwrap()
        };
        let (cuda, cpu) = (as_on_a_gpu(|| sample(device)), sample(Device::Cpu));
        let (cuda, cpu): (Vec<_>, Vec<_>) = (cuda.masks().collect(), cpu.masks().collect());
        assert_eq!(cuda.len(), cpu.len());
        for (i, (cuda, cpu)) in cuda.into_iter().zip(cpu).enumerate() {
            assert_eq!((cuda.kind(), cuda.size()), (cpu.kind(), cpu.size()), "mask {i}");
            assert!(cuda.to_device(Device::Cpu).equal(cpu), "mask {i}");
            let nonzero = cpu.gt(0.0).sum(Kind::Int64).int64_value(&[]);
            assert!(0 < nonzero && nonzero < cpu.numel() as i64, "mask {i} drops all or none");
        }
    }

    /// All dropouts, and sizes that are multiples of neither a block nor 4.
    fn every_dropout() -> LmConfig {
        LmConfig::paper(7, 11)
            .vocab(301)
            .layers(3)
            .locked_dropouts(0.2, 0.3, 0.4)
            .embedding_dropout(0.1)
            .weight_drop(0.5)
            .zoneout(0.25)
    }

    #[test]
    fn masks_of_the_cuda_kernel_equal_those_of_the_cpu() {
        for activations in [Kind::Float, Kind::BFloat16] {
            check_step(Device::Cpu, &every_dropout(), (5, 6), activations);
            // Disabled dropouts consume no words of the stream.
            let fewer = every_dropout().zoneout(0.0).weight_drop(0.0);
            check_step(Device::Cpu, &fewer, (5, 6), activations);
        }
    }

    /// With the sizes of awd-lstm-lm for Penn Treebank. `--nocapture` prints the time of sampling, in ms.
    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_the_masks_of_a_step_are_the_cpus() {
        let base = LmConfig::paper(400, 1550)
            .vocab(10_000)
            .locked_dropouts(0.4, 0.3, 0.4)
            .embedding_dropout(0.1)
            .weight_drop(0.1);
        let device = qrnn_ops::device::cuda().unwrap();
        let clock = Clock::of(device).unwrap();
        for (zoneout, activations) in
            [(0.0, Kind::Float), (0.1, Kind::Float), (0.1, Kind::BFloat16)]
        {
            let config = base.clone().zoneout(zoneout);
            check_step(device, &every_dropout(), (5, 6), activations);
            check_step(device, &config, (70, 20), activations);
            let options = MaskOptions { weights: Kind::Float, activations, device };
            let start = clock.record().unwrap();
            let masks = DropoutMasks::sample(&config, 70, 20, options, STREAM).unwrap();
            let milliseconds = clock.record().unwrap().since(&start).unwrap() * 1e3;
            let n: usize = masks.masks().map(Tensor::numel).sum();
            println!("{n} numbers, zoneout {zoneout}, {activations:?}: {milliseconds:.3} ms");
        }
    }
}
