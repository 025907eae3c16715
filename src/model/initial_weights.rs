//! Initial weights.

use rand::{Rng, RngExt};
use tch::{Device, Kind, Tensor};

use super::activations::InputRounding;
use super::config::LmConfig;
use super::layer::QrnnLayer;
use super::lm::QrnnLm;
use super::packed_products::PackedRoute;
use crate::random::{Purpose, generator};
use crate::{Error, Result};
use qrnn_ops::matmul::Precision;
use qrnn_ops::split_softmax::{Clusters, SoftmaxWeights};

impl QrnnLm {
    /// A model of this configuration with weights initialized from `seed`: the embedding uniformly within
    /// ±`init_range`, linear maps uniformly within ±1/√fan_in, the bias and cluster vectors of the softmax
    /// with 0.
    ///
    /// The projections of an adaptive model are uniform within ±√(3 / width), and so have variance 1 / width: the
    /// inputs P e then have the scale of an embedding without projection, and so have the logits e · Pᵀ h. They are
    /// sampled last, so that all other weights are those of a model without widths, if the widths are all E.
    ///
    /// # Errors
    /// As [`QrnnLm::new`].
    pub fn seeded(config: &LmConfig, options: (Kind, Device), seed: u64) -> Result<Self> {
        config.check()?;
        config.check_layers()?;
        check_device(options.1)?;
        let rng = &mut generator(seed, Purpose::Weights, 0);
        let (vocab, emsize) = (config.vocab as i64, config.emsize as i64);
        let mut clusters = Clusters::new(config.vocab, config.splits.borders(config.vocab)?);
        if let Some(widths) = &config.widths {
            clusters = clusters.adaptive(widths.iter().map(|w| *w < config.emsize).collect());
        }
        let tails = clusters.tails() as i64;
        let zeros = |size: &[i64]| parameter(&Tensor::f_zeros(size, options)?);
        let shapes = match &config.widths {
            None => vec![[vocab, emsize]],
            Some(widths) => {
                let sizes = (0..clusters.len()).map(|cluster| clusters.cluster(cluster).1 as i64);
                sizes.zip(widths).map(|(size, width)| [size, *width as i64]).collect()
            }
        };
        let weights = shapes
            .iter()
            .map(|shape| uniform(config.init_range, shape, options, rng))
            .collect::<Result<_>>()?;
        let layers = config
            .layer_shapes()
            .into_iter()
            .map(|shape| {
                let (rows, columns) = (shape.rows() as i64, shape.columns() as i64);
                let bound = 1.0 / (columns as f64).sqrt();
                Ok(QrnnLayer {
                    shape,
                    weight: uniform(bound, &[rows, columns], options, rng)?,
                    bias: uniform(bound, &[rows], options, rng)?,
                })
            })
            .collect::<Result<_>>()?;
        let projection = |width: &usize| -> Result<Option<Tensor>> {
            let bound = (3.0 / *width as f64).sqrt();
            let matrix = || uniform(bound, &[emsize, *width as i64], options, rng);
            (*width < config.emsize).then(matrix).transpose()
        };
        let projections = config.widths.iter().flatten().map(projection).collect::<Result<_>>()?;
        let tail = match tails {
            0 => None,
            _ => Some((zeros(&[tails, emsize])?, zeros(&[tails])?)),
        };
        Ok(Self {
            config: config.clone(),
            vocab: None,
            ids: None,
            options,
            precision: Precision::default(),
            clusters,
            operands: None,
            copy_grids: None,
            layers,
            softmax: SoftmaxWeights { weights, bias: zeros(&[vocab])?, tail },
            projections,
            input_rounding: InputRounding::Off,
            packed: None,
            packed_route: PackedRoute::default(),
        })
    }
}

/// # Errors
/// [`Error::Unavailable`] for CUDA without a GPU or without a library that it needs.
fn check_device(device: Device) -> Result<()> {
    match device {
        Device::Cpu => Ok(()),
        Device::Cuda(_) => Ok(qrnn_ops::device::cuda().map(drop)?),
        other => Err(Error::unavailable(
            format!("device {other:?}"),
            "only the CPU and CUDA are supported",
            "use Device::Cpu",
        )),
    }
}

/// A leaf that requires gradients.
fn parameter(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_set_requires_grad(true)?)
}

fn uniform(
    bound: f64,
    size: &[i64],
    (kind, device): (Kind, Device),
    rng: &mut impl Rng,
) -> Result<Tensor> {
    let n: i64 = size.iter().product();
    let values: Vec<f32> =
        (0..n).map(|_| ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32).collect();
    parameter(&Tensor::f_from_slice(&values)?.f_view(size)?.f_to_kind(kind)?.f_to_device(device)?)
}
