//! What each tensor of a compressed model adds to its score.

use std::collections::BTreeMap;

use super::counter::OpCounter;
use super::model_size::ModelSize;
use crate::Result;
use crate::compress::{CompressedLm, TensorReport};
use crate::packed::TensorSize;

impl OpCounter {
    /// The tensors of a compressed model, with what each adds to its score. The rest of the score is that of activations,
    /// softmax and cache.
    ///
    /// # Errors
    /// As [`OpCounter::count_compressed`].
    pub fn tensors(&self, model: &CompressedLm) -> Result<Vec<TensorReport>> {
        let scores = self.scores_of_tensors(model)?;
        let mut tensors = model.tensors();
        for tensor in &mut tensors {
            tensor.score = scores.get(&tensor.name).copied();
        }
        Ok(tensors)
    }

    fn scores_of_tensors(&self, model: &CompressedLm) -> Result<BTreeMap<String, f64>> {
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

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::compress::Plan;
    use crate::data::Corpus;
    use crate::evaluate::neural_cache::NeuralCache;
    use crate::model::{LmConfig, QrnnLm, Splits};
    use crate::paper::operation_counts::{
        BASELINE_OPERATIONS, BASELINE_PARAMETERS, Cost, Item, Part,
    };

    fn score(item: &Item) -> f64 {
        let baseline = match item.cost {
            Cost::Storage => BASELINE_PARAMETERS,
            Cost::Multiplications | Cost::Additions => BASELINE_OPERATIONS,
        };
        item.number as f64 * f64::from(item.bits) / 32.0 / baseline
    }

    #[test]
    fn tensors_and_activations_make_the_score() {
        let corpus = Corpus::synthetic().by_frequency().take_train(3_000);
        let config = LmConfig::paper(8, 12).layers(2).splits(Splits::At(vec![200, 1000]));
        for config in [config.clone(), config.widths([8, 4, 2])] {
            let model = QrnnLm::new(&config, &corpus, Device::Cpu).unwrap();
            let plan = Plan::new().zeros("rnns", 0.5).activation_bits(8);
            let mut small = CompressedLm::one_shot(&model, &corpus, &plan).unwrap();
            small.set_cache(&NeuralCache::new(50, 0.1, 0.2).unwrap()).unwrap();
            let table = OpCounter::rules().count_compressed(&small).unwrap();
            let tensors = OpCounter::rules().tensors(&small).unwrap();
            let scores: Vec<f64> = tensors.iter().filter_map(|tensor| tensor.score).collect();
            let of_activations = ["gates and pooling", "softmax", "activation scales"];
            let rest = table.ledger.iter().filter(|item| {
                item.part == Part::NeuralCache || of_activations.contains(&item.what.as_str())
            });
            let sum = scores.iter().chain(&rest.map(score).collect::<Vec<_>>()).sum::<f64>();
            assert!((sum / table.score - 1.0).abs() < 1e-9, "{sum} {}", table.score);
            assert!(scores.iter().all(|&score| score > 0.0), "{scores:?}");
            // All but the cache's settings, the steps of activations and the tails' biases.
            let others =
                ["cache.lambda", "cache.theta", "activations.scale", "criterion.tail_bias"];
            let named = tensors.into_iter().filter(|tensor| tensor.score.is_none());
            let named: Vec<String> = named.map(|tensor| tensor.name).collect();
            assert!(named.iter().all(|name| others.contains(&name.as_str())), "{named:?}");
        }
    }
}
