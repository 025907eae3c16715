//! The optimizer's step on a GPU, with the weight copies that the next step multiplies by.

use qrnn_ops::adam::{self, AdamUpdate};
use qrnn_ops::cuda::Launch;
use tch::Tensor;

use super::gradients::Gradients;
use super::moments::{Moments, adam_settings};
use super::recipe::Recipe;
use crate::Result;
use crate::model::{CopyGrid, QrnnLm};

/// The tensors of a parameter, or of the rows of it that one copy has.
struct Part {
    parameter: Tensor,
    gradient: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    mask: Option<Tensor>,
    copy: Option<Tensor>,
    /// That of the copy.
    grid: Option<CopyGrid>,
}

impl Part {
    fn rows(&self, first: i64, copy: Tensor) -> Result<Self> {
        let rows = copy.size()[0];
        let narrow = |tensor: &Tensor| tensor.f_narrow(0, first, rows);
        Ok(Self {
            parameter: narrow(&self.parameter)?,
            gradient: narrow(&self.gradient)?,
            first_moment: narrow(&self.first_moment)?,
            second_moment: narrow(&self.second_moment)?,
            mask: self.mask.as_ref().map(narrow).transpose()?,
            copy: Some(copy),
            grid: self.grid.as_ref().map(|grid| grid.of_rows(first, rows)).transpose()?,
        })
    }

    /// One part for each copy; all rows if there is none.
    fn by_copies(self, copies: Vec<Tensor>) -> Result<Vec<Self>> {
        if copies.len() <= 1 {
            return Ok(vec![Self { copy: copies.into_iter().next(), ..self }]);
        }
        let (mut first, mut parts) = (0, vec![]);
        for copy in copies {
            let part = self.rows(first, copy)?;
            first += part.parameter.size()[0];
            parts.push(part);
        }
        Ok(parts)
    }

    fn update(&self) -> AdamUpdate<'_> {
        AdamUpdate {
            parameter: &self.parameter,
            gradient: &self.gradient,
            first_moment: &self.first_moment,
            second_moment: &self.second_moment,
            copy: self.copy.as_ref(),
            mask: self.mask.as_ref(),
            rounding: self.grid.as_ref().map(CopyGrid::rounding),
        }
    }
}

/// Masks, clips, checks and updates on the GPU, and writes the weight copies for the matmuls of the next step.
pub(super) fn adam_on_gpu(
    launcher: &dyn Launch,
    model: &QrnnLm,
    grads: Gradients<'_>,
    (loss, healthy): (&Tensor, &Tensor),
    moments: &[Moments],
    recipe: &Recipe,
    lr: f64,
) -> Result<()> {
    let parameters = model.parameters();
    let grids = model.copy_grids().unwrap_or_default();
    let mut parts = vec![];
    for (i, copies) in model.copies_of_parameters()?.into_iter().enumerate() {
        let whole = Part {
            parameter: parameters[i].1.shallow_clone(),
            gradient: grads.all[i].shallow_clone(),
            first_moment: moments[i].first.shallow_clone(),
            second_moment: moments[i].second.shallow_clone(),
            mask: grads.masks.get(i).and_then(|mask| mask.as_ref().map(Tensor::shallow_clone)),
            copy: None,
            grid: grids.get(i).and_then(|grid| grid.as_ref().map(CopyGrid::shallow_clone)),
        };
        parts.extend(whole.by_copies(copies)?);
    }
    let updates: Vec<_> = parts.iter().map(Part::update).collect();
    let Some(Moments { step: steps, .. }) = moments.first() else { return Ok(()) };
    Ok(adam::adam_step(
        launcher,
        &updates,
        steps,
        (loss, healthy),
        adam_settings(recipe, lr),
        recipe.clip,
    )?)
}
