//! What to prune and to round, and how far.

use qrnn_ops::cuda;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::magnitude::{Ranking, kept};
use super::magnitude_on_device;
use crate::model::QrnnLm;
use crate::packed::{Encoding, Grid, MAX_BITS, MIN_BITS, ScalePer};
use crate::{Error, Result};

/// Bits of a weight unless a plan says otherwise.
const DEFAULT_BITS: u32 = 8;

/// Most rows of a block of a mask.
const MAX_BLOCK: usize = 1024;

/// How a model is compressed: the fraction of zeros and the bits of its tensors.
///
/// Tensors are named as in files, or by the beginning of their names: `rnns` is all layers, `rnns.1` the second,
/// `encoder.2` the third cluster of an adaptive embedding. The longest name that fits a tensor counts; of equal ones
/// the last.
///
/// ```
/// # use qrnn::compress::Plan;
/// let plan = Plan::new().zeros("rnns", 0.6).zeros("encoder", 0.35).bits("", 8).activation_bits(8);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Fractions of zeros by name. Biases and projections are not pruned unless they are named.
    zeros: Vec<(String, f64)>,
    /// Bits of the weights by name.
    bits: Vec<(String, u32)>,
    grid: Grid,
    /// Rows of a block of the masks.
    block: usize,
    power_of_two: bool,
    activation_bits: Option<u32>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            zeros: vec![],
            bits: vec![(String::new(), DEFAULT_BITS)],
            grid: Grid::Integers,
            block: 1,
            power_of_two: false,
            activation_bits: None,
        }
    }
}

/// The plan of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorPlan {
    pub name: String,
    pub shape: Vec<usize>,
    /// Fraction of zeros.
    pub zeros: f64,
    /// How it is stored; `None` for floating point.
    pub encoding: Option<Encoding>,
}

impl TensorPlan {
    /// Which weights stay at a fraction of zeros: the largest.
    ///
    /// Rows of the embedding are pruned alike: what a row's sizes tell is how often its word was a wrong answer, and
    /// words that training never saw have the largest weights.
    pub(crate) fn kept(&self, weights: &[f32], zeros: f64) -> Vec<bool> {
        let ranking = if self.is_embedding() { Ranking::Row } else { Ranking::Tensor };
        self.largest(weights, zeros, ranking)
    }

    /// Which weights stay during training, as a mask of kind Uint8 on the device of the weights, 1 where a weight stays:
    /// the largest, but in an embedding those that the loss would miss most, whichever their rows. By optimal brain
    /// damage (LeCun et al. 1990, equation 5) that is w² h with the curvature h, for which this takes what Adam divides
    /// by, √E\[g²\] (Kingma and Ba 2015). Without squares of gradients, as [`TensorPlan::kept`].
    ///
    /// * `squared_gradients`: running means of the squares of the gradients, of the shape of the weights.
    ///
    /// # Errors
    /// [`Error::Ops`] if memory runs out.
    pub(crate) fn mask(
        &self,
        weights: &Tensor,
        squared_gradients: Option<&Tensor>,
        zeros: f64,
    ) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let (sizes, ranking) = match squared_gradients {
            Some(squares) if self.is_embedding() => {
                // The root of w² h, which is in the same order and does not underflow.
                (weights.f_abs()?.f_mul(&squares.f_sqrt()?.f_sqrt()?)?, Ranking::Tensor)
            }
            None if self.is_embedding() => (weights.shallow_clone(), Ranking::Row),
            _ => (weights.shallow_clone(), Ranking::Tensor),
        };
        if cuda::is_gpu(weights.device()) {
            return magnitude_on_device::mask(&sizes, zeros, (self.block(), ranking));
        }
        let sizes = Vec::<f32>::try_from(sizes.f_to_kind(Kind::Float)?.f_reshape(-1)?)?;
        let flags: Vec<u8> =
            self.largest(&sizes, zeros, ranking).into_iter().map(u8::from).collect();
        Ok(Tensor::f_from_slice(&flags)?.f_view_as(weights)?)
    }

    fn largest(&self, sizes: &[f32], zeros: f64, ranking: Ranking) -> Vec<bool> {
        kept(sizes, self.shape.last().copied().unwrap_or(1), zeros, (self.block(), ranking))
    }

    fn is_embedding(&self) -> bool {
        self.name.starts_with("encoder.")
    }

    /// Rows of a block.
    fn block(&self) -> usize {
        self.encoding.map_or(1, |encoding| encoding.block)
    }
}

impl Plan {
    /// Weights of 8 bits, no zeros, activations in floating point.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the fraction of zeros of the tensors of this name, at least 0 and below 1.
    pub fn zeros(mut self, name: impl Into<String>, fraction: f64) -> Self {
        self.zeros.push((name.into(), fraction));
        self
    }

    /// Sets the bits of the weights of this name, 2 to 8; "" names all.
    pub fn bits(mut self, name: impl Into<String>, bits: u32) -> Self {
        self.bits.push((name.into(), bits));
        self
    }

    /// Sets whether weights are integers or indices of a codebook.
    pub fn weights(mut self, grid: Grid) -> Self {
        self.grid = grid;
        self
    }

    /// Prunes blocks of this many rows and one column, whose mask takes a bit a block.
    pub fn block(mut self, rows: usize) -> Self {
        self.block = rows;
        self
    }

    /// Sets whether scales are powers of two, whose products are exact in floating point.
    pub fn power_of_two(mut self, power_of_two: bool) -> Self {
        self.power_of_two = power_of_two;
        self
    }

    /// Rounds the inputs of matrix products to integers of this many bits, 2 to 8.
    pub fn activation_bits(mut self, bits: impl Into<Option<u32>>) -> Self {
        self.activation_bits = bits.into();
        self
    }

    /// Bits of the inputs of matrix products; `None` if they are not rounded.
    pub fn activations(&self) -> Option<u32> {
        self.activation_bits
    }

    /// Whether any tensor is pruned.
    pub fn prunes(&self) -> bool {
        self.zeros.iter().any(|(_, fraction)| *fraction > 0.0)
    }

    /// The plan of each parameter of a model, in their order.
    ///
    /// # Errors
    /// As [`Plan::resolve`].
    pub fn of_model(&self, model: &QrnnLm) -> Result<Vec<TensorPlan>> {
        let shape = |tensor: &Tensor| tensor.size().iter().map(|&n| n as usize).collect();
        let parameters = model.parameters();
        let shapes: Vec<_> =
            parameters.iter().map(|(name, tensor)| (name.clone(), shape(tensor))).collect();
        self.resolve(&shapes)
    }

    /// The plan of each tensor.
    ///
    /// # Errors
    /// [`Error::Config`] for a fraction or a number of bits out of range, or a name that no tensor has.
    pub fn resolve(&self, tensors: &[(String, Vec<usize>)]) -> Result<Vec<TensorPlan>> {
        self.check()?;
        for (field, names, fits) in [
            (
                "plan.zeros",
                self.zeros.iter().map(|(name, _)| name).collect(),
                is_prunable as fn(&str) -> bool,
            ),
            ("plan.bits", self.bits.iter().map(|(name, _)| name).collect::<Vec<_>>(), is_rounded),
        ] {
            let fits: Vec<&str> =
                tensors.iter().map(|(name, _)| name.as_str()).filter(|name| fits(name)).collect();
            if let Some(name) =
                names.into_iter().find(|name| !fits.iter().any(|fit| names_it(name, fit)))
            {
                return Err(Error::config(
                    field,
                    name,
                    "names no tensor of this model",
                    format!("name one of these, or the beginning of a name: {}", fits.join(", ")),
                ));
            }
        }
        let plan = |(name, shape): &(String, Vec<usize>)| TensorPlan {
            name: name.clone(),
            shape: shape.clone(),
            zeros: if is_prunable(name) { value(&self.zeros, name).unwrap_or(0.0) } else { 0.0 },
            encoding: is_rounded(name).then(|| Encoding {
                bits: value(&self.bits, name).unwrap_or(DEFAULT_BITS),
                grid: if shape.len() == 2 { self.grid } else { Grid::Integers },
                scale_per: if name.starts_with("rnns.") { ScalePer::Row } else { ScalePer::Tensor },
                power_of_two: self.power_of_two,
                block: if is_prunable(name) { self.block } else { 1 },
            }),
        };
        Ok(tensors.iter().map(plan).collect())
    }

    /// # Errors
    /// [`Error::Config`].
    pub fn check(&self) -> Result<()> {
        if let Some((name, zeros)) =
            self.zeros.iter().find(|(_, zeros)| !(0.0..1.0).contains(zeros))
        {
            return Err(Error::config(
                "plan.zeros",
                format!("{name}={zeros}"),
                "is not a fraction of zeros: at least 0 and below 1",
                "give for example rnns=0.6",
            ));
        }
        let bits = self.bits.iter().map(|(name, bits)| ("plan.bits", name.as_str(), *bits));
        let activations = self.activation_bits.map(|bits| ("plan.activation_bits", "", bits));
        for (field, name, bits) in bits.chain(activations) {
            if !(MIN_BITS..=MAX_BITS).contains(&bits) {
                let value =
                    if name.is_empty() { bits.to_string() } else { format!("{name}={bits}") };
                return Err(Error::config(
                    field,
                    value,
                    format!("must be from {MIN_BITS} to {MAX_BITS} bits"),
                    "give for example 8",
                ));
            }
        }
        if !(1..=MAX_BLOCK).contains(&self.block) {
            return Err(Error::config(
                "plan.block",
                self.block,
                format!("must be from 1 to {MAX_BLOCK} rows"),
                "leave it out to prune single weights",
            ));
        }
        Ok(())
    }
}

/// Whether `name` is a tensor's name or its beginning, up to a dot.
fn names_it(name: &str, tensor: &str) -> bool {
    name.is_empty()
        || tensor.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The value of the longest name that fits; of equal ones the last.
fn value<T: Copy>(values: &[(String, T)], tensor: &str) -> Option<T> {
    let fitting = values.iter().filter(|(name, _)| names_it(name, tensor));
    fitting.max_by_key(|(name, _)| name.len()).map(|(_, value)| *value)
}

/// Matrices of many weights. The tombstones are one row a tail.
fn is_prunable(tensor: &str) -> bool {
    tensor.ends_with(".weight")
}

/// Factors of products, and the bias of each word; the biases of the layers are few.
fn is_rounded(tensor: &str) -> bool {
    is_prunable(tensor) || ["decoder.bias", "criterion.tail_vectors"].contains(&tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<(String, Vec<usize>)> {
        let tensor = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
        vec![
            tensor("encoder.weight", &[30, 4]),
            tensor("rnns.0.linear.weight", &[18, 8]),
            tensor("rnns.0.linear.bias", &[18]),
            tensor("rnns.10.linear.weight", &[12, 6]),
            tensor("decoder.bias", &[30]),
        ]
    }

    #[test]
    fn the_longest_name_counts() {
        let plan = Plan::new().zeros("rnns", 0.5).zeros("rnns.10", 0.25).bits("encoder", 4);
        let plans = plan.resolve(&tensors()).unwrap();
        let zeros: Vec<f64> = plans.iter().map(|plan| plan.zeros).collect();
        assert_eq!(zeros, [0.0, 0.5, 0.0, 0.25, 0.0]);
        let bits: Vec<_> = plans.iter().map(|plan| plan.encoding.map(|e| e.bits)).collect();
        assert_eq!(bits, [Some(4), Some(8), None, Some(8), Some(8)]);
        // `rnns.1` is not the beginning of `rnns.10` up to a dot.
        assert!(Plan::new().zeros("rnns.1", 0.5).resolve(&tensors()).is_err());
        let last = Plan::new().zeros("rnns", 0.5).zeros("rnns", 0.75).resolve(&tensors()).unwrap();
        assert_eq!(last[1].zeros, 0.75);
    }

    /// With squares of gradients, whole rows of an embedding may go; layers do not look at them.
    #[test]
    fn training_keeps_the_weights_of_an_embedding_that_matter_to_the_loss() {
        let plans = Plan::new().zeros("", 0.5).resolve(&tensors()).unwrap();
        let plan = |i: usize| TensorPlan { shape: vec![3, 2], ..plans[i].clone() };
        let weights = Tensor::from_slice(&[0.3f32, -4.0, 0.1, -0.2, 9.0, 8.0]).view([3, 2]);
        let squares = Tensor::from_slice(&[1.0f32, 1.0, 4.0, 100.0, 1e-6, 0.0]).view([3, 2]);
        let mask = |i: usize, squares: Option<&Tensor>| {
            let mask = plan(i).mask(&weights, squares, 0.5).unwrap();
            Vec::<u8>::try_from(mask.view(-1)).unwrap()
        };
        assert_eq!(mask(0, Some(&squares)), [1, 1, 0, 1, 0, 0]);
        assert_eq!(mask(0, None), [0, 1, 0, 1, 1, 0]);
        assert_eq!(mask(1, Some(&squares)), [0, 1, 0, 0, 1, 1]);
        let kept: Vec<bool> = mask(0, None).into_iter().map(|flag| flag == 1).collect();
        assert_eq!(plan(0).kept(&[0.3, -4.0, 0.1, -0.2, 9.0, 8.0], 0.5), kept);
    }

    #[test]
    fn wrong_plans_are_refused_by_name() {
        let refused = [
            (Plan::new().zeros("decoder", 0.5), "plan.zeros decoder: names no tensor"),
            (Plan::new().zeros("rnns", 1.0), "plan.zeros rnns=1: is not a fraction"),
            (Plan::new().zeros("rnns", f64::NAN), "plan.zeros rnns=NaN"),
            (Plan::new().zeros("rnns", -0.1), "plan.zeros rnns=-0.1"),
            (Plan::new().bits("", 9), "plan.bits 9: must be from 2 to 8"),
            (Plan::new().bits("encoder", 1), "plan.bits encoder=1"),
            (Plan::new().bits("embedding", 4), "plan.bits embedding: names no tensor"),
            (Plan::new().activation_bits(16), "plan.activation_bits 16"),
            (Plan::new().block(0), "plan.block 0"),
        ];
        for (plan, message) in refused {
            let error = plan.resolve(&tensors()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
