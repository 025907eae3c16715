//! Models of random weights: as large and as fast as trained ones, for measurements. Nothing is trained.

use qrnn_ops::split_softmax::Clusters;
use rand::RngExt;
use tch::{Device, Kind, Tensor};

use super::compressed_lm::CompressedLm;
use super::plan::Plan;
use super::shares::known_shares;
use crate::Result;
use crate::data::{Corpus, IdOrder};
use crate::model::{LmConfig, QrnnLm};
use crate::random::{Purpose, generator};

/// The corpus that such models name.
const NAME: &str = "random";

/// Tokens over which the ranges of activations are measured.
const OBSERVED: usize = 512;

/// The range of biases and tombstones, far below that of the embedding.
const BIASES: f32 = 1e-3;

/// A model of random weights whose words are decimal numbers.
///
/// * `text`: token ids. The softmax prefers its clusters by their shares of this text, so that a generated text needs
///   tails as often. May be empty: then all classes of the head are about as likely.
///
/// # Errors
/// As [`QrnnLm::new`].
pub fn random_lm(config: &LmConfig, text: &[u32], seed: u64) -> Result<QrnnLm> {
    Ok(random(config, text, seed)?.0)
}

/// A compressed model of random weights: as [`random_lm`], pruned and rounded by a plan in one shot, so that it has
/// exactly the plan's zeros, at random places. Its metadata name the corpus `random`.
///
/// # Errors
/// As [`CompressedLm::one_shot`].
pub fn random_compressed_lm(
    config: &LmConfig,
    plan: &Plan,
    text: &[u32],
    seed: u64,
) -> Result<CompressedLm> {
    let (model, corpus) = random(config, text, seed)?;
    let mut compressed = CompressedLm::one_shot(&model, &corpus, plan)?;
    if let ([], Some(shares)) = (text, known_shares(config).filter(|_| config.widths.is_some())) {
        compressed.set_shares(shares)?;
    }
    Ok(compressed)
}

fn random(config: &LmConfig, text: &[u32], seed: u64) -> Result<(QrnnLm, Corpus)> {
    let _no_grad = tch::no_grad_guard();
    let mut model = QrnnLm::seeded(config, (Kind::Float, Device::Cpu), seed)?;
    let observed = match text {
        [] => (0..OBSERVED).map(|i| (i * config.vocab / OBSERVED) as u32).collect(),
        text => text.iter().copied().take(OBSERVED).collect(),
    };
    let corpus = Corpus::from_ids(NAME, config.vocab, [vec![], observed, text.to_vec()])?;
    // A training text without words leaves the ids as they are.
    let order = if config.widths.is_some() { IdOrder::Frequency } else { IdOrder::FirstAppearance };
    let corpus = corpus.in_order(order);
    model.adopt_vocab(&corpus);
    // Trained ones are not 0, and zeros would not be stored.
    for (name, parameter) in model.parameters() {
        if ["decoder.bias", "criterion.tail_vectors"].contains(&name.as_str()) {
            let rng = &mut generator(seed, Purpose::Weights, 1);
            let value = |_| BIASES * (rng.random::<f32>() - 0.5);
            let values: Vec<f32> = (0..parameter.numel()).map(value).collect();
            let values = Tensor::f_from_slice(&values)?.f_view(&parameter.size()[..])?;
            parameter.shallow_clone().f_copy_(&values)?;
        }
    }
    if let Some((_, tail_bias)) = model.parameters().pop().filter(|(name, _)| name == TAIL_BIAS) {
        let mut bias = tombstone_biases(model.clusters(), text);
        bias.reverse(); // the first tail's tombstone is the last
        tail_bias.shallow_clone().f_copy_(&Tensor::f_from_slice(&bias)?)?;
    }
    Ok((model, corpus))
}

const TAIL_BIAS: &str = "criterion.tail_bias";

/// The bias of each tail for which it is as likely as its share of a text, if all logits of the head's tokens are 0.
fn tombstone_biases(clusters: &Clusters, text: &[u32]) -> Vec<f32> {
    let count = |(first, size): (usize, usize)| {
        let of_cluster = |id: &&u32| (first..first + size).contains(&(**id as usize));
        text.iter().filter(of_cluster).count().max(1) as f64
    };
    let (in_head, size) = (count((0, clusters.head_size())), clusters.head_size() as f64);
    if text.is_empty() {
        return vec![0.0; clusters.tails()];
    }
    (0..clusters.tails()).map(|k| (size * count(clusters.tail(k)) / in_head).ln() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::PRESETS;
    use crate::model::Splits;

    #[test]
    fn random_models_have_the_zeros_of_their_plan_and_the_shares_of_a_text() {
        let config = LmConfig::paper(12, 20).vocab(100).layers(2).init_range(0.01);
        let config = config.splits(Splits::At(vec![20, 50]));
        let text: Vec<u32> = (0..100).map(|i| [3, 30, 70, 1, 2][i % 5]).collect();
        for config in [config.clone(), config.widths([12, 4, 2])] {
            let plan = PRESETS[0].plan(&config);
            let compressed = random_compressed_lm(&config, &plan, &text, 1).unwrap();
            assert_eq!(compressed.metadata().corpus, "random");
            for tensor in compressed.tensors().iter().filter(|t| t.name.starts_with("rnns")) {
                let elements: usize = tensor.shape.iter().product();
                if tensor.shape.len() == 2 {
                    let zeros = elements as u64 - tensor.nonzeros;
                    assert_eq!(zeros, (elements as f64 * 0.6) as u64, "{}", tensor.name);
                }
            }
            let model = compressed.model();
            assert!(model.uses_packed_products().unwrap());
            assert_eq!(model.vocab().unwrap().word(70), "70");
            let output = Tensor::zeros([1, 1, 12], (Kind::Float, Device::Cpu));
            let head = model.head_log_probabilities(&output).unwrap().exp();
            for tail in [20, 21] {
                assert!((head.double_value(&[0, tail]) - 0.2).abs() < 0.01);
            }
            assert_eq!(
                compressed.metadata().shares,
                config.widths.is_some().then(|| vec![60, 20, 20])
            );
            let without = random_compressed_lm(&config, &plan, &[], 1).unwrap();
            assert_eq!(without.metadata().shares, None);
        }
    }
}
