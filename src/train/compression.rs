//! Pruning and rounding during training.
//!
//! The optimizer works on exact weights. Each step runs on a shadow of them, rounded, and its gradients are those of the
//! exact weights (the straight-through estimator, Bengio et al. 2013). Weights that a mask prunes have no gradient, and
//! their moments and means are 0, so they stay 0.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use super::optimizer::Optimizer;
use crate::Result;
use crate::compress::{CompressedLm, Gradual, TensorPlan};
use crate::data::Corpus;
use crate::model::{Activations, QrnnLm};
use crate::packed::{Grid, PackedTensor, Quantizer, StoredTensor};

/// Bits of activations from which training does not round them: their error is far below that of the weights.
const EXACT_ACTIVATION_BITS: u32 = 8;

/// A run that compresses its model.
#[derive(Debug)]
pub(super) struct Compression {
    pub settings: Gradual,
    plans: Vec<TensorPlan>,
    /// 1 where a weight stays, of kind Uint8; `None` for a tensor without zeros.
    masks: Vec<Option<Tensor>>,
    /// `None` for a tensor in floating point.
    quantizers: Vec<Option<Quantizer>>,
    activations: Option<Activations>,
    /// The share of the planned zeros that are there.
    share: f64,
    /// The model of the best epoch among those with all zeros.
    pub best: Option<CompressedLm>,
}

impl Compression {
    /// Starts with the model as it is, without zeros.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the settings do not fit the model; [`crate::Error::NotFinite`].
    pub fn new(settings: &Gradual, model: &QrnnLm) -> Result<Self> {
        settings.check()?;
        let plans = settings.plan.of_model(model)?;
        model.check_finite()?;
        let mut compression = Self {
            settings: settings.clone(),
            masks: plans.iter().map(|_| None).collect(),
            quantizers: plans.iter().map(|_| None).collect(),
            plans,
            activations: None,
            share: 0.0,
            best: None,
        };
        compression.fit_quantizers(model)?;
        Ok(compression)
    }

    /// Whether the masks and scales are due for an update before this step.
    pub fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.settings.every)
    }

    /// Prunes as many weights as belong to this progress, and fits scales and codebooks.
    ///
    /// * `progress`: fraction of the run that is done.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn update(&mut self, model: &QrnnLm, optimizer: &Optimizer, progress: f64) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let share = self.settings.share(progress);
        self.share = share;
        for (i, (_, parameter)) in model.parameters().into_iter().enumerate() {
            let plan = &self.plans[i];
            if plan.zeros == 0.0 {
                continue;
            }
            // All zeros where the plan is reached, whatever the rounding of the share.
            let zeros = if share == 1.0 { plan.zeros } else { plan.zeros * share };
            let flags = plan.kept(&values(parameter)?, zeros);
            let flags: Vec<u8> = flags.into_iter().map(u8::from).collect();
            let mask = Tensor::f_from_slice(&flags)?
                .f_view(&parameter.size()[..])?
                .f_to_device(parameter.device())?;
            multiply(parameter, &mask)?;
            optimizer.mask_state(i, &mask)?;
            self.masks[i] = Some(mask);
        }
        self.fit_quantizers(model)
    }

    fn fit_quantizers(&mut self, model: &QrnnLm) -> Result<()> {
        for (i, (_, parameter)) in model.parameters().into_iter().enumerate() {
            if let Some(encoding) = self.plans[i].encoding {
                let (shape, weights) = (&self.plans[i].shape, values(parameter)?);
                self.quantizers[i] = Some(Quantizer::fit(encoding, shape, &weights));
            }
        }
        Ok(())
    }

    /// The model on rounded weights, whose gradients are those of the exact ones.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn shadow(&self, model: &QrnnLm) -> Result<QrnnLm> {
        let activations = self.activations.clone();
        let activations = activations.filter(|grids| grids.bits < EXACT_ACTIVATION_BITS);
        let mut quantizers = self.quantizers.iter();
        let shadow = model.with_parameters(activations, |parameter| {
            let _no_grad = tch::no_grad_guard();
            match quantizers.next() {
                Some(Some(quantizer)) => {
                    Ok(rounded(quantizer, parameter)?.f_set_requires_grad(true)?)
                }
                _ => Ok(parameter.shallow_clone()),
            }
        })?;
        Ok(shadow)
    }

    /// Removes the gradients of pruned weights, before their norm is clipped.
    pub fn mask_gradients(&self, gradients: &[Tensor]) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        for (gradient, mask) in gradients.iter().zip(&self.masks) {
            if let Some(mask) = mask {
                multiply(gradient, mask)?;
            }
        }
        Ok(())
    }

    /// Whether all planned zeros are there.
    pub fn is_final(&self) -> bool {
        self.share == 1.0
    }

    /// The compressed model of the current weights. Measures the ranges of its activations.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn compressed(&mut self, model: &QrnnLm, corpus: &Corpus) -> Result<CompressedLm> {
        let mut tensors = BTreeMap::new();
        for (i, (name, parameter)) in model.parameters().into_iter().enumerate() {
            let (shape, values) = (self.plans[i].shape.clone(), values(parameter)?);
            let tensor = match self.plans[i].encoding {
                // Weights that are averaged have other scales than those that are trained.
                Some(encoding) => {
                    StoredTensor::Packed(PackedTensor::encode(&shape, &values, encoding))
                }
                None => StoredTensor::Float { shape, values },
            };
            tensors.insert(name, tensor);
        }
        let mut compressed = CompressedLm::new(model, corpus, &self.settings.plan, tensors)?;
        self.activations = compressed.round_activations(corpus)?.cloned();
        Ok(compressed)
    }

    /// Masks, scales and codebooks as named tensors, for a checkpoint.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = vec![];
        for (i, mask) in self.masks.iter().enumerate() {
            if let Some(mask) = mask {
                tensors.push((format!("{i}.mask"), mask.shallow_clone()));
            }
        }
        for (i, quantizer) in self.quantizers.iter().enumerate() {
            let Some(Quantizer { scales, book, .. }) = quantizer else { continue };
            tensors.push((format!("{i}.scales"), Tensor::f_from_slice(scales)?));
            if let Some(book) = book {
                let book: Vec<f32> = book.iter().map(|&entry| f32::from(entry)).collect();
                tensors.push((format!("{i}.book"), Tensor::f_from_slice(&book)?));
            }
        }
        if let Some(activations) = &self.activations {
            tensors.push(("activations".into(), Tensor::f_from_slice(&activations.steps)?));
        }
        tensors.push(("share".into(), Tensor::f_from_slice(&[self.share])?));
        Ok(tensors)
    }

    /// Restores [`Compression::tensors`]; `take` returns a tensor by name.
    ///
    /// # Errors
    /// As [`Compression::new`], and those of `take`.
    pub fn restored(
        settings: &Gradual,
        model: &QrnnLm,
        take: &dyn Fn(String) -> Result<Option<Tensor>>,
    ) -> Result<Self> {
        let mut compression = Self::new(settings, model)?;
        for (i, (_, parameter)) in model.parameters().into_iter().enumerate() {
            if let Some(mask) = take(format!("{i}.mask"))? {
                let mask = mask.f_to_kind(Kind::Uint8)?.f_view(&parameter.size()[..])?;
                compression.masks[i] = Some(mask);
            }
            let floats = |name: &str| -> Result<Option<Vec<f32>>> {
                let tensor = take(format!("{i}.{name}"))?;
                tensor.map(|tensor| values(&tensor)).transpose()
            };
            if let Some(quantizer) = &mut compression.quantizers[i] {
                if let Some(scales) = floats("scales")? {
                    quantizer.scales = scales;
                }
                if let Some(book) = floats("book")? {
                    quantizer.book = Some(book.into_iter().map(|entry| entry as i8).collect());
                }
            }
        }
        if let (Some(bits), Some(steps)) =
            (settings.plan.activations(), take("activations".into())?)
        {
            compression.activations = Some(Activations { bits, steps: values(&steps)? });
        }
        if let Some(share) = take("share".into())? {
            compression.share = share.f_double_value(&[0])?;
        }
        Ok(compression)
    }
}

/// Rounds a parameter as its quantizer stores it.
fn rounded(quantizer: &Quantizer, parameter: &Tensor) -> Result<Tensor> {
    let device = parameter.device();
    let scales = Tensor::f_from_slice(&quantizer.scales)?.f_to_device(device)?;
    if quantizer.encoding.grid == Grid::Integers {
        let largest = i64::from(quantizer.encoding.largest());
        return Ok(match quantizer.scales[..] {
            [scale] => parameter.f_fake_quantize_per_tensor_affine(
                f64::from(scale),
                0,
                -largest,
                largest,
            )?,
            _ => {
                let zeros = Tensor::f_zeros(scales.size(), (Kind::Int, device))?;
                parameter
                    .f_fake_quantize_per_channel_affine(&scales, &zeros, 0, -largest, largest)?
            }
        });
    }
    let scales = if quantizer.scales.len() == 1 { scales } else { scales.f_unsqueeze(1)? };
    let table = quantizer.rounded_integers().unwrap_or_default();
    let half = table.len() as i64 / 2;
    let table: Vec<f32> = table.into_iter().map(f32::from).collect();
    let table = Tensor::f_from_slice(&table)?.f_to_device(device)?;
    let levels = parameter.f_mul(&scales.f_reciprocal()?)?.f_round()?.f_clamp(-half, half)?;
    let index = levels.f_to_kind(Kind::Int64)?.f_add_scalar(half)?.f_view(-1)?;
    Ok(table.f_index_select(0, &index)?.f_view_as(parameter)?.f_mul(&scales)?)
}

/// The values of a tensor, row by row.
fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    let _no_grad = tch::no_grad_guard();
    let flat = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_reshape(-1)?;
    Ok(Vec::try_from(flat)?)
}

/// Multiplies a tensor in place.
fn multiply(tensor: &Tensor, mask: &Tensor) -> Result<()> {
    let _ = tensor.shallow_clone().f_mul_(mask)?;
    Ok(())
}

#[cfg(test)]
#[path = "compression_tests.rs"]
mod tests;
