//! What each tensor of a compressed model adds to its score.

use std::collections::BTreeMap;

use super::counter::OpCounter;
use super::model_size::ModelSize;
use crate::Result;
use crate::compress::CompressedLm;
use crate::packed::TensorSize;

impl OpCounter {
    /// What each tensor adds to the score of a compressed model, by name: its storage, the products with it and their
    /// sums. The rest of the score is that of activations, softmax and cache.
    ///
    /// # Errors
    /// As [`OpCounter::count_compressed`].
    pub fn scores_of_tensors(&self, model: &CompressedLm) -> Result<BTreeMap<String, f64>> {
        let (config, size) =
            (model.model().config(), ModelSize::stored(model.file(), model.metadata())?);
        let whole = self.count_size(config, &size)?.score;
        let mut scores = BTreeMap::new();
        let mut without = |name: String, remove: &dyn Fn(&mut ModelSize)| -> Result<()> {
            let mut rest = size.clone();
            remove(&mut rest);
            scores.insert(name, whole - self.count_size(config, &rest)?.score);
            Ok(())
        };
        for (k, cluster) in size.clusters.iter().enumerate() {
            let name = match &config.widths {
                None => "encoder.weight".to_owned(),
                Some(_) => format!("encoder.{k}.weight"),
            };
            without(name, &|size| size.clusters[k].weight = nothing())?;
            if cluster.projection.is_some() {
                let name = format!("projections.{k}.weight");
                without(name, &|size| size.clusters[k].projection = Some(nothing()))?;
            }
        }
        for i in 0..size.layers.len() {
            let name = format!("rnns.{i}.linear");
            without(format!("{name}.weight"), &|size| size.layers[i].weight = nothing())?;
            without(format!("{name}.bias"), &|size| size.layers[i].biases = 0)?;
        }
        if size.tombstones.is_some() {
            let name = "criterion.tail_vectors".to_owned();
            without(name, &|size| size.tombstones = Some(nothing()))?;
        }
        without("decoder.bias".into(), &|size| size.decoder_bias = nothing())?;
        Ok(scores)
    }
}

/// A tensor without weights.
fn nothing() -> TensorSize {
    TensorSize::declared(&[0, 0], 0.0, 0, 0, 1)
}
