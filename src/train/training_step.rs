//! One training step: what it reads, and what it computes.

use qrnn_ops::{cuda, libtorch};
use tch::{Kind, Tensor};

use super::compression::Compression;
use super::gradients::Gradients;
use super::recipe::Recipe;
use super::schedule;
use super::step_inputs::{StepInputs, TokenIds};
use super::training_loop::TrainingLoop;
use crate::Result;
use crate::model::DropoutMasks;
use crate::random::{Purpose, Stream};

impl TrainingLoop<'_> {
    /// Submits the next step to the device; false if it was interrupted and changed nothing.
    pub(super) fn submit_step(&mut self) -> Result<bool> {
        self.update_compression_if_due()?;
        let clock = self.pending.clock();
        let inputs = match self.next.take() {
            Some(inputs) => inputs,
            None => self.prepare_step()?,
        };
        let (rate, tokens) = (inputs.rate, inputs.tokens.of_batch);
        let Some(loss) = self.train_step(inputs)? else { return Ok(false) };
        self.pending.push(clock, loss, tokens, rate);
        self.progress.step_submitted();
        Ok(true)
    }

    /// On a GPU, uploads the inputs of the next step while the current one is computed, before the losses
    /// are read: the step then need not wait for its inputs.
    pub(super) fn prepare_next(&mut self) -> Result<()> {
        let device = self.model.options().1;
        if cuda::is_gpu(device) && self.has_rows_left() && !self.step_limit_reached() {
            self.next = Some(self.prepare_step()?);
        }
        Ok(())
    }

    /// The inputs of the next step, on the model's device.
    fn prepare_step(&self) -> Result<StepInputs> {
        let recipe = self.recipe;
        let length = schedule::sequence_length(recipe, self.step());
        let rate = schedule::learning_rate(recipe, self.position.epoch, length);
        let columns = self.parallel.columns();
        let n = columns.len();
        let batch = self.batches.columns(self.row(), length, columns);
        let (own, targets) = self.model.upload_batch(&batch.inputs, batch.targets, n)?;
        let seq = own.size()[0];
        let batch = match self.parallel.needs_all_tokens() {
            true => Some(self.all_tokens(length)?),
            false => None,
        };
        let of_batch = seq as usize * self.parallel.batch();
        let tokens = TokenIds { own, batch, of_batch };
        let stream = Stream { seed: recipe.seed, purpose: Purpose::Dropout, counter: self.step() };
        let (share, options) = (self.parallel.share(), self.model.mask_options());
        let masks = DropoutMasks::sample(self.model.config(), seq, &share, options, stream)?;
        Ok(StepInputs { rate, tokens, targets, masks })
    }

    /// The token ids of all columns of the next step, (seq, batch).
    fn all_tokens(&self, length: usize) -> Result<Tensor> {
        let batch = self.batches.batch(self.row(), length);
        let tokens = libtorch::upload(&batch.inputs, self.model.options().1)?;
        Ok(tokens.f_view([-1, self.parallel.batch() as i64])?)
    }

    /// Forward, backward and the optimizer's update. Returns the loss without regularizers, a scalar tensor
    /// that is not copied to the host; `None` if the step was interrupted, which leaves the weights and
    /// the state unchanged.
    fn train_step(&mut self, inputs: StepInputs) -> Result<Option<Tensor>> {
        let recipe = self.recipe;
        let StepInputs { tokens, targets, masks, rate } = inputs;
        let mut shadow = match &self.compression {
            Some(compression) => compression.shadow(self.model)?,
            None => None,
        };
        let model = shadow.as_mut().unwrap_or(self.model);
        model.refresh_operands()?;
        let model = &*model;
        let embedded = tch::no_grad(|| model.embed(&tokens.own))?.f_set_requires_grad(true)?;
        let raw = recipe.beta > 0.0;
        let forwarded =
            model.forward_embedded(&embedded, &tokens.own, &self.state, Some(&masks), raw)?;
        if self.parallel.stops_within_step(self.interrupt) {
            return Ok(None);
        }
        let loss = model.training_loss(&forwarded.features, targets, tokens.of_batch)?;
        if self.parallel.stops_within_step(self.interrupt) {
            return Ok(None);
        }
        let outputs = (&forwarded.raw, &forwarded.output);
        let objective = regularized(&loss.mean, outputs, recipe, self.parallel.weight())?;
        let (grads, loss) =
            self.parallel.gradients(model, &loss, &objective, (&embedded, &tokens))?;
        let masks = self.compression.as_ref().map_or(&[][..], Compression::masks);
        let grads = Gradients { all: &grads, masks };
        self.optimizer.step(self.model, grads, (&loss, &self.healthy), recipe, rate)?;
        self.state = forwarded.state;
        Ok(Some(loss))
    }
}

/// The loss with the original's two regularizers: alpha times the mean square of the dropped output, beta
/// times the mean square of the raw output's differences in time.
///
/// * `weight`: the part of the batch that the outputs are of.
fn regularized(
    loss: &Tensor,
    (raw, output): (&Tensor, &Tensor),
    recipe: &Recipe,
    weight: f64,
) -> Result<Tensor> {
    let mean_square = |x: &Tensor| x.f_square()?.f_mean(None::<Kind>);
    let mut objective = loss.shallow_clone();
    if recipe.alpha > 0.0 {
        objective = objective.f_add(&mean_square(output)?.f_mul_scalar(recipe.alpha * weight)?)?;
    }
    let seq = raw.size()[0];
    if recipe.beta > 0.0 && seq > 1 {
        let difference = raw.f_narrow(0, 1, seq - 1)?.f_sub(&raw.f_narrow(0, 0, seq - 1)?)?;
        objective =
            objective.f_add(&mean_square(&difference)?.f_mul_scalar(recipe.beta * weight)?)?;
    }
    Ok(objective)
}
