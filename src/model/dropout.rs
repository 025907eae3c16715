//! The masks of one training step, made from the run's seed: on the CPU drawn one number after another,
//! on a GPU where they are wanted, with the same numbers.

mod card;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

#[cfg(test)]
pub(crate) use card::DROPOUT_MASK;
pub(crate) use card::try_out as try_card;

use super::config::LmConfig;
use crate::libtorch::upload;
use crate::random::Stream;
use crate::{Result, cuda, profile};

/// The dropout masks of one forward pass; `None` where nothing is dropped.
///
/// Masks hold 0 and 1 / (1 - p), zoneout's 0 and 1. Drawn apart from the forward, so that a test
/// can give its own.
#[derive(Debug, Default)]
pub struct Dropouts {
    /// (vocab), on whole words (dropoute).
    pub words: Option<Tensor>,
    /// (1, batch, emsize), on the embedding (dropouti).
    pub input: Option<Tensor>,
    /// One entry a layer; empty where nothing is dropped in any.
    pub layers: Vec<LayerDropouts>,
}

/// The masks of one layer.
#[derive(Debug, Default)]
pub struct LayerDropouts {
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

impl Dropouts {
    /// The masks of a training step of `seq` words in each of `batch` columns.
    ///
    /// Every number of every mask takes one word of `stream`, in the order of the fields, wherever the
    /// masks are made.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out; [`crate::Error::Unavailable`] and
    /// [`crate::Error::Cuda`] where a GPU's kernel cannot be had or launched.
    pub fn draw(
        config: &LmConfig,
        seq: i64,
        batch: i64,
        options: MaskOptions,
        stream: Stream,
    ) -> Result<Self> {
        let maker = match cuda::launcher(options.device)? {
            Some(launcher) => Maker::Card(card::OnCard::new(launcher, stream)),
            None => Maker::Host(Box::new(stream.generator())),
        };
        Self::made_by(maker, config, (seq, batch), options)
    }

    fn made_by(
        mut maker: Maker,
        config: &LmConfig,
        (seq, batch): (i64, i64),
        options: MaskOptions,
    ) -> Result<Self> {
        let stage = profile::stage("dropout masks");
        let weights = (options.weights, options.device);
        let activations = (options.activations, options.device);
        let words =
            maker.mask(Dropped::scaled(config.dropoute), &[config.vocab as i64], weights)?;
        let emsize = config.emsize as i64;
        let input = maker.mask(Dropped::scaled(config.dropouti), &[1, batch, emsize], weights)?;
        let mut layers = vec![];
        for (i, shape) in config.layer_shapes().iter().enumerate() {
            let hidden = shape.output as i64;
            let linear = [shape.rows() as i64, shape.columns() as i64];
            let last = i + 1 == config.nlayers;
            let p = if last { config.dropout } else { config.dropouth };
            layers.push(LayerDropouts {
                weight: maker.mask(Dropped::scaled(config.wdrop), &linear, weights)?,
                zoneout: maker.mask(
                    Dropped { p: config.zoneout, kept: 1.0 },
                    &[seq, batch, hidden],
                    activations,
                )?,
                output: maker.mask(Dropped::scaled(p), &[1, batch, hidden], activations)?,
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

/// What a mask holds: 0 with probability p, else `kept`.
#[derive(Debug, Clone, Copy)]
struct Dropped {
    p: f64,
    kept: f64,
}

impl Dropped {
    /// Keeps the mean.
    fn scaled(p: f64) -> Self {
        Self { p, kept: 1.0 / (1.0 - p) }
    }
}

/// What turns a stream of random words into masks, one after another.
enum Maker {
    Host(Box<ChaCha8Rng>),
    Card(card::OnCard),
}

impl Maker {
    /// The next mask; `None` for p = 0, which takes no words.
    fn mask(
        &mut self,
        dropped: Dropped,
        size: &[i64],
        options: (Kind, Device),
    ) -> Result<Option<Tensor>> {
        if dropped.p == 0.0 {
            return Ok(None);
        }
        Ok(Some(match self {
            Self::Host(random) => drawn(dropped, size, options, random)?,
            Self::Card(card) => card.mask(dropped, size, options)?,
        }))
    }
}

fn drawn(
    Dropped { p, kept }: Dropped,
    size: &[i64],
    (kind, device): (Kind, Device),
    random: &mut ChaCha8Rng,
) -> Result<Tensor> {
    let n: i64 = size.iter().product();
    let values: Vec<f32> =
        (0..n).map(|_| if random.random::<f32>() < p as f32 { 0.0 } else { kept as f32 }).collect();
    Ok(upload(&values, device)?.f_view(size)?.f_to_kind(kind)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    const CPU: MaskOptions =
        MaskOptions { weights: Kind::Float, activations: Kind::Float, device: Device::Cpu };
    const STREAM: Stream = Stream { seed: 1, purpose: Purpose::Dropout, counter: 0 };

    #[test]
    fn masks_have_the_shapes_the_forward_wants_and_keep_the_mean() {
        let config =
            LmConfig::paper(40, 60).vocab(500).embedding_dropout(0.2).weight_drop(0.5).zoneout(0.3);
        let drops = Dropouts::draw(&config, 7, 5, CPU, STREAM).unwrap();
        let size = |mask: &Option<Tensor>| mask.as_ref().unwrap().size();
        assert_eq!(size(&drops.words), [500]);
        assert_eq!(size(&drops.input), [1, 5, 40]);
        assert_eq!(size(&drops.layers[0].weight), [180, 80]);
        assert_eq!(size(&drops.layers[1].zoneout), [7, 5, 60]);
        assert_eq!(size(&drops.layers[3].output), [1, 5, 40]);
        let mean = drops.layers[0].weight.as_ref().unwrap().mean(Kind::Double).double_value(&[]);
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
    }

    #[test]
    fn nothing_is_drawn_where_nothing_is_dropped() {
        let config = LmConfig::paper(4, 6).vocab(5).locked_dropouts(0.0, 0.0, 0.0);
        let drops = Dropouts::draw(&config, 7, 5, CPU, STREAM).unwrap();
        assert!(drops.words.is_none() && drops.input.is_none());
        assert!(drops.layers.iter().all(|l| l.weight.is_none() && l.output.is_none()));
    }
}
