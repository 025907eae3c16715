//! The masks of one training step, drawn on the host from the run's seed.

use rand::{Rng, RngExt};
use tch::{Device, Kind, Tensor};

use super::config::LmConfig;
use crate::libtorch::upload;
use crate::{Result, profile};

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

impl Dropouts {
    /// Draws all masks of a training step of `seq` words in `batch` columns.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub fn draw(
        config: &LmConfig,
        seq: i64,
        batch: i64,
        options: (Kind, Device),
        rng: &mut impl Rng,
    ) -> Result<Self> {
        let _stage = profile::stage("dropout masks");
        let mut scaled = |p: f64, size: &[i64]| mask(p, 1.0 / (1.0 - p), size, options, rng);
        let words = scaled(config.dropoute, &[config.vocab as i64])?;
        let input = scaled(config.dropouti, &[1, batch, config.emsize as i64])?;
        let mut layers = vec![];
        for (i, shape) in config.layer_shapes().iter().enumerate() {
            let hidden = shape.output as i64;
            let last = i + 1 == config.nlayers;
            let p = if last { config.dropout } else { config.dropouth };
            layers.push(LayerDropouts {
                weight: mask(
                    config.wdrop,
                    1.0 / (1.0 - config.wdrop),
                    &[shape.rows() as i64, shape.columns() as i64],
                    options,
                    rng,
                )?,
                zoneout: mask(config.zoneout, 1.0, &[seq, batch, hidden], options, rng)?,
                output: mask(p, 1.0 / (1.0 - p), &[1, batch, hidden], options, rng)?,
            });
        }
        Ok(Self { words, input, layers })
    }
}

/// A mask of `kept` with probability 1 - p and 0 with probability p; `None` for p = 0.
fn mask(
    p: f64,
    kept: f64,
    size: &[i64],
    (kind, device): (Kind, Device),
    rng: &mut impl Rng,
) -> Result<Option<Tensor>> {
    if p == 0.0 {
        return Ok(None);
    }
    let n: i64 = size.iter().product();
    let values: Vec<f32> =
        (0..n).map(|_| if rng.random::<f32>() < p as f32 { 0.0 } else { kept as f32 }).collect();
    Ok(Some(upload(&values, device)?.f_view(size)?.f_to_kind(kind)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    #[test]
    fn masks_have_the_shapes_the_forward_wants_and_keep_the_mean() {
        let config =
            LmConfig::paper(40, 60).vocab(500).embedding_dropout(0.2).weight_drop(0.5).zoneout(0.3);
        let drops =
            Dropouts::draw(&config, 7, 5, CPU, &mut generator(1, Purpose::Dropout, 0)).unwrap();
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
        let drops =
            Dropouts::draw(&config, 7, 5, CPU, &mut generator(1, Purpose::Dropout, 0)).unwrap();
        assert!(drops.words.is_none() && drops.input.is_none());
        assert!(drops.layers.iter().all(|l| l.weight.is_none() && l.output.is_none()));
    }
}
