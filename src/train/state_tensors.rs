//! The carried state as named tensors, for checkpoints.

use tch::Tensor;

use crate::Result;
use crate::model::State;

impl State {
    /// The tensors with the names that checkpoints give them.
    pub(super) fn tensors(&self) -> Vec<(String, &Tensor)> {
        let mut all = vec![("last_input".to_owned(), &self.previous_input)];
        all.extend(self.layers.iter().enumerate().map(|(i, layer)| (i.to_string(), layer)));
        all
    }

    /// A state of tensors by these names; the second argument of `take` is that of this state.
    pub(super) fn named(&self, take: &dyn Fn(&str, &Tensor) -> Result<Tensor>) -> Result<Self> {
        let layers = self.layers.iter().enumerate();
        Ok(Self {
            previous_input: take("last_input", &self.previous_input)?,
            layers: layers.map(|(i, like)| take(&i.to_string(), like)).collect::<Result<_>>()?,
        })
    }

    /// The state with each tensor replaced.
    pub(super) fn map(&self, each: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.named(&|_, tensor| each(tensor))
    }
}
