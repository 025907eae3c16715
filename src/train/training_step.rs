//! One training step of a session.

use qrnn_ops::cuda;
use tch::Tensor;

use super::schedule;
use super::step_inputs::{StepInputs, regularized};
use super::training_loop::Session;
use crate::model::DropoutMasks;
use crate::random::{Purpose, Stream};
use crate::{Error, Result};

impl Session<'_> {
    /// Brings the next step's ids and masks to a GPU before the losses are read, while it still works
    /// on the last step: after the reading it need not wait for them.
    pub(super) fn prepare_next(&mut self, rows: usize) -> Result<()> {
        let device = self.model.options().1;
        if cuda::is_gpu(device) && self.row() + 2 < rows && !self.step_limit_reached() {
            self.next = Some(self.prepare_step()?);
        }
        Ok(())
    }

    /// What the next step reads beside weights and state, on the model's device.
    pub(super) fn prepare_step(&self) -> Result<StepInputs> {
        let recipe = self.recipe;
        let length = schedule::sequence_length(recipe, self.step());
        let rate = schedule::learning_rate(recipe, self.position.epoch, length);
        let [tokens, targets] = self.columns.window(self.row(), length);
        let (tokens, targets) = self.model.upload_batch(&tokens, targets, recipe.batch)?;
        let (seq, batch) = tokens.size2()?;
        let stream = Stream { seed: recipe.seed, purpose: Purpose::Dropout, counter: self.step() };
        let masks = self.model.mask_options();
        let masks = DropoutMasks::sample(self.model.config(), seq, batch, masks, stream)?;
        Ok(StepInputs { rate, tokens, targets, masks })
    }

    /// One step: its loss without regularizers, a scalar tensor.
    pub(super) fn train_step(&mut self, inputs: StepInputs) -> Result<Tensor> {
        let recipe = self.recipe;
        let StepInputs { tokens, targets, masks, rate } = inputs;
        self.model.refresh_operands()?;
        let embedded = tch::no_grad(|| self.model.embed(&tokens))?.f_set_requires_grad(true)?;
        let raw = recipe.beta > 0.0;
        let forwarded =
            self.model.forward_embedded(&embedded, &tokens, &self.state, Some(&masks), raw)?;
        self.check_interrupt()?;
        let loss = self.model.training_loss(&forwarded.features, targets)?;
        self.check_interrupt()?;
        let objective = regularized(&loss, &forwarded.raw, &forwarded.output, recipe)?;
        let grads = self.model.gradients(&objective, &embedded, &tokens)?;
        let loss = loss.f_detach()?;
        self.optimizer.step(self.model, &grads, (&loss, &self.healthy), recipe, rate)?;
        self.state = forwarded.state;
        Ok(loss)
    }

    /// Within a step, which may take long: it is given up, and leaves nothing changed.
    fn check_interrupt(&self) -> Result<()> {
        match self.interrupt.requested() {
            true => Err(Error::Interrupted { saved: "the step was given up".into() }),
            false => Ok(()),
        }
    }
}
