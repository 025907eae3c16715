//! Pruning and rounding during training.
//!
//! The optimizer works on exact weights. Each step runs on rounded ones, and its gradients are those of the exact weights
//! (the straight-through estimator, Bengio et al. 2013). Weights that a mask prunes have no gradient, and their moments
//! and means are 0, so they stay 0.
//!
//! On the CPU, the rounded weights are a shadow of the model, built for each step. On CUDA, matrix products read copies
//! of the weights anyway: the optimizer's kernel rounds them as it writes them, and masks the gradients as it reads
//! them, so a step takes no more launches than without compression (one more with word dropout in bf16). Codebooks,
//! activations of fewer than 8 bits and weight drop need the shadow there too, which takes several launches for each
//! tensor.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::optimizer::Optimizer;
use super::weight_rounding::WeightRounding;
use crate::Result;
use crate::compress::{CompressedLm, Gradual, TensorPlan, values};
use crate::data::Corpus;
use crate::model::{Activations, QrnnLm};
use crate::packed::{Grid, PackedTensor, StoredTensor};

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
    roundings: Vec<Option<WeightRounding>>,
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
            roundings: plans.iter().map(|_| None).collect(),
            plans,
            activations: None,
            share: 0.0,
            best: None,
        };
        compression.fit_roundings(model)?;
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
    pub fn update(
        &mut self,
        model: &mut QrnnLm,
        optimizer: &Optimizer,
        progress: f64,
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let share = self.settings.share(progress);
        self.share = share;
        for (i, (_, parameter)) in model.parameters().into_iter().enumerate() {
            let plan = &self.plans[i];
            if plan.zeros == 0.0 {
                continue;
            }
            let squares = optimizer.squared_gradients(i);
            let mask = plan.mask(parameter, squares, plan.zeros * share)?;
            let _ = parameter.shallow_clone().f_mul_(&mask)?;
            optimizer.mask_state(i, &mask)?;
            self.masks[i] = Some(mask);
        }
        self.fit_roundings(model)?;
        self.round_copies(model);
        Ok(())
    }

    fn fit_roundings(&mut self, model: &QrnnLm) -> Result<()> {
        for (i, (_, parameter)) in model.parameters().into_iter().enumerate() {
            self.roundings[i] = WeightRounding::fit(&self.plans[i], parameter)?;
        }
        Ok(())
    }

    /// Whether steps read rounded copies of the weights, in place of a shadow.
    pub fn rounds_copies(&self, model: &QrnnLm) -> bool {
        let mut encodings = self.plans.iter().filter_map(|plan| plan.encoding);
        let activations = self.settings.plan.activations();
        model.can_round_copies()
            && encodings.all(|encoding| encoding.grid == Grid::Integers)
            && activations.is_none_or(|bits| bits >= EXACT_ACTIVATION_BITS)
    }

    /// Gives the model the grids of its copies, if steps read rounded ones.
    pub fn round_copies(&self, model: &mut QrnnLm) {
        if self.rounds_copies(model) {
            let grid = |rounding: &Option<WeightRounding>| rounding.as_ref()?.copy_grid();
            model.round_copies(Some(self.roundings.iter().map(grid).collect()));
        }
    }

    /// The model on rounded weights, whose gradients are those of the exact ones; `None` if the model's copies are rounded.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn shadow(&self, model: &QrnnLm) -> Result<Option<QrnnLm>> {
        if self.rounds_copies(model) {
            return Ok(None);
        }
        let activations = self.activations.clone();
        let activations = activations.filter(|grids| grids.bits < EXACT_ACTIVATION_BITS);
        let mut roundings = self.roundings.iter();
        let shadow = model.with_parameters(activations, |parameter| {
            let _no_grad = tch::no_grad_guard();
            match roundings.next() {
                Some(Some(rounding)) => Ok(rounding.round(parameter)?.f_set_requires_grad(true)?),
                _ => Ok(parameter.shallow_clone()),
            }
        })?;
        Ok(Some(shadow))
    }

    /// For each parameter, 1 where a weight stays; `None` for one without zeros.
    pub fn masks(&self) -> &[Option<Tensor>] {
        &self.masks
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
        for (i, rounding) in self.roundings.iter().enumerate() {
            let Some(rounding) = rounding else { continue };
            tensors.push((format!("{i}.scales"), rounding.scales.shallow_clone()));
            if let Some(book) = &rounding.book {
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
            if let Some(rounding) = &mut compression.roundings[i] {
                if let Some(scales) = take(format!("{i}.scales"))? {
                    rounding.scales = scales.f_to_kind(Kind::Float)?.f_view(-1)?;
                }
                if let Some(book) = take(format!("{i}.book"))? {
                    let book = values(&book)?.into_iter().map(|entry| entry as i8);
                    rounding.book = Some(book.collect());
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

#[cfg(test)]
#[path = "compression_on_gpu_tests.rs"]
mod on_gpu_tests;
#[cfg(test)]
#[path = "compression_tests.rs"]
mod tests;
