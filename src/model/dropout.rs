//! The masks of one training step, made from the run's seed: on the CPU drawn one number after another,
//! on a GPU where they are wanted, with the same numbers.

use qrnn_ops::dropout_mask::{Bernoulli, MaskSampler};
use tch::{Device, Kind, Tensor};

use super::config::LmConfig;
use crate::Result;
use crate::random::Stream;
use qrnn_ops::profile;

/// The dropout masks of one forward pass; `None` where nothing is dropped.
///
/// Masks hold 0 and 1 / (1 - p), zoneout's 0 and 1. Drawn apart from the forward, so that a test
/// can give its own.
#[derive(Debug, Default)]
pub struct DropoutMasks {
    /// (vocab), on whole words (dropoute).
    pub words: Option<Tensor>,
    /// (1, batch, emsize), on the embedding (dropouti).
    pub input: Option<Tensor>,
    /// One entry a layer; empty where nothing is dropped in any.
    pub layers: Vec<LayerMasks>,
}

/// The masks of one layer.
#[derive(Debug, Default)]
pub struct LayerMasks {
    /// (3 H, window × input), on the linear weight (wdrop).
    pub weight: Option<Tensor>,
    /// (seq, batch, H), on the forget gate (zoneout).
    pub zoneout: Option<Tensor>,
    /// (1, batch, H), after the layer (dropouth, or dropout after the last).
    pub output: Option<Tensor>,
}

/// What is stored in which format, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskOptions {
    /// Kind of the masks that multiply weights and embeddings: the weights' own.
    pub weights: Kind,
    /// Kind of the masks that multiply what a layer makes.
    pub activations: Kind,
    /// Where all of them lie.
    pub device: Device,
}

impl DropoutMasks {
    /// The masks of a training step of `seq` words in each of `batch` columns.
    ///
    /// Every number of every mask takes one word of `stream`, in the order of the fields, wherever the
    /// masks are made.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] where memory runs out; [`crate::Error::Unavailable`] and
    /// [`crate::Error::Ops`] where a GPU's kernel cannot be had or launched.
    pub fn sample(
        config: &LmConfig,
        seq: i64,
        batch: i64,
        options: MaskOptions,
        stream: Stream,
    ) -> Result<Self> {
        let mut sampler = MaskSampler::new(options.device, stream.key())?;
        let stage = profile::stage("dropout masks");
        let weights = (options.weights, options.device);
        let activations = (options.activations, options.device);
        let words =
            sampler.sample(Bernoulli::dropout(config.dropoute), &[config.vocab as i64], weights)?;
        let emsize = config.emsize as i64;
        let input =
            sampler.sample(Bernoulli::dropout(config.dropouti), &[1, batch, emsize], weights)?;
        let mut layers = vec![];
        for (i, shape) in config.layer_shapes().iter().enumerate() {
            let hidden = shape.output as i64;
            let linear = [shape.rows() as i64, shape.columns() as i64];
            let last = i + 1 == config.nlayers;
            let p = if last { config.dropout } else { config.dropouth };
            layers.push(LayerMasks {
                weight: sampler.sample(Bernoulli::dropout(config.wdrop), &linear, weights)?,
                zoneout: sampler.sample(
                    Bernoulli::zoneout(config.zoneout),
                    &[seq, batch, hidden],
                    activations,
                )?,
                output: sampler.sample(Bernoulli::dropout(p), &[1, batch, hidden], activations)?,
            });
        }
        let all = Self { words, input, layers };
        let _stage = stage.over(all.masks());
        Ok(all)
    }

    /// All masks, in the order in which they take words of the stream.
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
    fn masks_have_the_shapes_the_forward_wants_and_keep_the_mean() {
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
    fn nothing_is_drawn_where_nothing_is_dropped() {
        let config = LmConfig::paper(4, 6).vocab(5).locked_dropouts(0.0, 0.0, 0.0);
        let masks = DropoutMasks::sample(&config, 7, 5, CPU, STREAM).unwrap();
        assert!(masks.words.is_none() && masks.input.is_none());
        assert!(masks.layers.iter().all(|l| l.weight.is_none() && l.output.is_none()));
    }

    /// All masks of a step equal the CPU's, on `device` or, on the CPU, by the host shim.
    fn check_step(device: Device, config: &LmConfig, (seq, batch): (i64, i64), activations: Kind) {
        let stream = Stream { seed: 1882, purpose: Purpose::Dropout, counter: 41 };
        let sample = |device| {
            let options = MaskOptions { weights: Kind::Float, activations, device };
            DropoutMasks::sample(config, seq, batch, options, stream).unwrap()
        };
        let (ours, theirs) = (as_on_a_gpu(|| sample(device)), sample(Device::Cpu));
        let (ours, theirs): (Vec<_>, Vec<_>) = (ours.masks().collect(), theirs.masks().collect());
        assert_eq!(ours.len(), theirs.len());
        for (i, (ours, theirs)) in ours.into_iter().zip(theirs).enumerate() {
            assert_eq!((ours.kind(), ours.size()), (theirs.kind(), theirs.size()), "mask {i}");
            assert!(ours.to_device(Device::Cpu).equal(theirs), "mask {i}");
            let kept = theirs.gt(0.0).sum(Kind::Int64).int64_value(&[]);
            assert!(0 < kept && kept < theirs.numel() as i64, "mask {i} drops all or none");
        }
    }

    /// Every dropout on, and sizes that are not multiples of a block, nor of 4.
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
    fn the_masks_of_a_step_are_the_cpus() {
        for activations in [Kind::Float, Kind::BFloat16] {
            check_step(Device::Cpu, &every_dropout(), (5, 6), activations);
            // What is not dropped takes no words of the stream.
            let fewer = every_dropout().zoneout(0.0).weight_drop(0.0);
            check_step(Device::Cpu, &fewer, (5, 6), activations);
        }
    }

    /// The recipe of awd-lstm-lm for Penn Treebank, with and without zoneout. `--nocapture` prints the time
    /// of all masks.
    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_gpu_the_masks_of_a_step_are_the_cpus() {
        let recipe = LmConfig::paper(400, 1550)
            .vocab(10_000)
            .locked_dropouts(0.4, 0.3, 0.4)
            .embedding_dropout(0.1)
            .weight_drop(0.1);
        let device = qrnn_ops::device::cuda().unwrap();
        let clock = Clock::of(device).unwrap();
        for (zoneout, activations) in
            [(0.0, Kind::Float), (0.1, Kind::Float), (0.1, Kind::BFloat16)]
        {
            let config = recipe.clone().zoneout(zoneout);
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
