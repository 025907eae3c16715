//! Loads a saved model's weights into a model.

use super::lm::QrnnLm;
use super::saved::SavedModel;
use super::splits::Splits;
use super::vocabulary::{self, KnownWords};
use super::{finite, weights};
use crate::{Error, Result, terminal};

impl SavedModel {
    /// Replaces all weights and the vocabulary of a model, or nothing on error. A file without a
    /// vocabulary removes the model's.
    ///
    /// # Errors
    /// [`Error::BadFile`] if words, shapes or names differ from the model's; [`Error::Mismatch`] if the
    /// clusters or the orders of ids differ.
    pub fn load_into(mut self, model: &mut QrnnLm) -> Result<()> {
        self.check_trainable()?;
        let is_adaptive = weights::is_adaptive(&self.tensors);
        if self.config.is_none() && model.config().splits == Splits::None && !is_adaptive {
            self.drop_clusters();
        }
        if is_adaptive != model.config().widths.is_some() {
            self.check_sizes(model.config())?;
        }
        let (ids, path) = (self.ids(), &self.path);
        let words = |vocab, ids| KnownWords { vocab, ids };
        vocabulary::check_file(path, words(self.vocab(), ids), words(model.vocab(), model.ids()))?;
        let splits = self.check_splits(&model.config().splits, model.config().vocab);
        if let Err(error) = weights::check(&self.path, &self.tensors, &model.parameters()) {
            // Report different sizes and clusters first, since they cause different tensors.
            if self.sizes().is_ok_and(|sizes| sizes.vocab == model.config().vocab) {
                self.check_sizes(model.config())?;
                splits?;
            }
            return Err(error);
        }
        splits?;
        finite::check(self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)))?;
        weights::assign(self.tensors, &model.parameters())?;
        model.packed = None;
        model.vocab = self.vocab;
        model.ids = ids;
        Ok(())
    }

    /// Removes the cluster tensors, which a plain softmax does not use. Allowed only for a file that does
    /// not state its clusters.
    fn drop_clusters(&mut self) {
        let count = self.tensors.len();
        self.tensors.retain(|name, _| !name.starts_with("criterion."));
        if self.tensors.len() < count {
            terminal::note(format_args!(
                "{}: criterion.tail_vectors and criterion.tail_bias are ignored, since a plain softmax is \
                 requested",
                self.path.display()
            ));
        }
    }

    /// # Errors
    /// [`Error::Mismatch`] if the requested clusters are not those that the weights were trained with.
    pub(super) fn check_splits(&self, requested: &Splits, vocab: usize) -> Result<()> {
        let Some(trained) = &self.splits()? else { return Ok(()) };
        let (requested_at, trained_at) = (requested.borders(vocab)?, trained.borders(vocab)?);
        if requested_at == trained_at {
            return Ok(());
        }
        let resolved = |at: Vec<usize>| if at.is_empty() { Splits::None } else { Splits::At(at) };
        let (requested_at, trained_at) = (resolved(requested_at), resolved(trained_at));
        let requested = match requested {
            Splits::Auto => format!("config.splits auto (here {requested_at})"),
            Splits::None | Splits::At(_) => format!("config.splits {requested_at}"),
        };
        Err(Error::mismatch(
            requested,
            format!("{} was trained with config.splits {trained_at}", self.path.display()),
            format!("leave it out, or use `config.splits {trained_at}`"),
        ))
    }
}
