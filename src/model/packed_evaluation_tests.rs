use std::path::Path;

use tch::Device;

use super::*;
use crate::data::IdOrder;
use crate::model::compressed::{ACTIVATION_STEPS, CompressedMetadata, model_of};
use crate::model::{LmConfig, Splits};
use crate::packed::{Encoding, Grid, ScalePer};

/// How a test model is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub bits: u32,
    pub grid: Grid,
    pub power_of_two: bool,
    pub block: usize,
    /// Of each matrix.
    pub zeros: f64,
    pub activation_bits: u32,
}

impl Default for Stored {
    fn default() -> Self {
        let (bits, grid) = (8, Grid::Integers);
        Self { bits, grid, power_of_two: false, block: 1, zeros: 0.0, activation_bits: 8 }
    }
}

/// A model of random weights that was stored so.
pub(crate) fn stored_model(config: &LmConfig, stored: Stored, seed: u64) -> QrnnLm {
    let _no_grad = tch::no_grad_guard();
    tch::manual_seed(seed as i64);
    let mut model = QrnnLm::seeded(&config.clone().init_range(1.0), CPU, seed).unwrap();
    let mut tensors = std::collections::BTreeMap::new();
    for (name, tensor) in model.parameters() {
        if name.starts_with("criterion.") || name == "decoder.bias" {
            let _ = tensor.shallow_clone().normal_(0.0, 1.0);
        }
        let kept = tensor.rand_like().ge(stored.zeros).to_kind(Kind::Float);
        let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
        let pruned = if shape.len() == 2 { tensor * kept } else { tensor.shallow_clone() };
        let values = Vec::<f32>::try_from(pruned.view(-1)).unwrap();
        let scale_per = if name.starts_with("rnns") { ScalePer::Row } else { ScalePer::Tensor };
        let Stored { bits, grid, power_of_two, block, .. } = stored;
        let encoding = Encoding { bits, grid, scale_per, power_of_two, block };
        let tensor = if shape.len() == 2 {
            StoredTensor::Packed(PackedTensor::encode(&shape, &values, encoding))
        } else {
            StoredTensor::Float { shape, values }
        };
        tensors.insert(name, tensor);
    }
    let tokens = Tensor::randint(config.vocab as i64, [50, 2], (Kind::Int64, Device::Cpu));
    let largest = model.largest_inputs(&tokens).unwrap();
    let mut steps = Activations::covering(stored.activation_bits, &largest).steps;
    if !stored.power_of_two {
        steps.iter_mut().for_each(|step| *step *= 0.83);
    }
    let shape = vec![steps.len()];
    tensors.insert(ACTIVATION_STEPS.into(), StoredTensor::Float { shape, values: steps });
    let metadata = CompressedMetadata {
        model: config.clone(),
        corpus: "test".into(),
        ids: IdOrder::Frequency,
        vocabulary: None,
        plan: serde_json::Value::Null,
        activation_bits: Some(stored.activation_bits),
        shares: None,
        cache: None,
    };
    let file = Arc::new(PackedFile { tensors, metadata: Default::default() });
    model_of(Path::new("test"), file, &metadata, None, Device::Cpu).unwrap()
}

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn configs() -> [LmConfig; 5] {
    let published = LmConfig::paper(7, 19).vocab(53).layers(3).splits(Splits::At(vec![11, 30]));
    [
        published.clone(),
        published.clone().splits(Splits::None),
        published.clone().widths([7, 5, 2]),
        published.clone().widths([3, 7, 1]),
        LmConfig::paper(75, 130).vocab(300).layers(2).splits(Splits::At(vec![70])).widths([75, 9]),
    ]
}

fn all_stored() -> Vec<Stored> {
    let mut all: Vec<Stored> = (2..=8).map(|bits| Stored { bits, ..Stored::default() }).collect();
    all.extend((2..=8).map(|bits| Stored { bits, zeros: 0.7, ..Stored::default() }));
    all.extend([4, 8].map(|block| Stored { block, zeros: 0.9, ..Stored::default() }));
    all.extend([3, 4, 8].map(|bits| Stored { bits, grid: Grid::Codebook, ..Stored::default() }));
    all.push(Stored { bits: 4, grid: Grid::Codebook, zeros: 0.8, ..Stored::default() });
    all.extend([2, 5].map(|activation_bits| Stored { activation_bits, ..Stored::default() }));
    all.push(Stored { power_of_two: true, zeros: 0.5, ..Stored::default() });
    all
}

/// Token losses, their sum, and all log probabilities of a text.
fn results(model: &QrnnLm, tokens: &Tensor, targets: &[i64]) -> (Vec<f64>, f64, Tensor) {
    let _no_grad = tch::no_grad_guard();
    let state = model.zero_state(tokens.size()[1]).unwrap();
    let forwarded = model.forward(tokens, &state, None).unwrap();
    let losses = model.token_losses(&forwarded.output, targets).unwrap();
    let sum = model.loss_sum(&forwarded.output, targets).unwrap();
    let log_p = model.log_probabilities(&forwarded.output).unwrap();
    (Vec::try_from(losses).unwrap(), sum, log_p)
}

fn text(config: &LmConfig, seq: i64, batch: i64) -> (Tensor, Vec<i64>) {
    tch::manual_seed(3);
    let random = || Tensor::randint(config.vocab as i64, [seq, batch], (Kind::Int64, Device::Cpu));
    (random(), Vec::try_from(random().view(-1)).unwrap())
}

/// The decoded weights in single precision are the reference.
#[test]
fn products_of_integers_give_the_losses_of_the_decoded_weights() {
    tch::set_num_threads(1);
    for (i, config) in configs().iter().enumerate() {
        let (tokens, targets) = text(config, 11, 3);
        for (j, stored) in all_stored().into_iter().enumerate() {
            let mut model = stored_model(config, stored, (i * 100 + j) as u64);
            assert!(model.uses_packed_products().unwrap(), "{stored:?}");
            let (losses, sum, log_p) = results(&model, &tokens, &targets);
            model.use_packed_products(false);
            assert!(!model.uses_packed_products().unwrap());
            let (expected, expected_sum, expected_log_p) = results(&model, &tokens, &targets);
            // An output that lies in the middle between two values of a grid may be rounded to another one.
            assert!((sum - expected_sum).abs() <= 2e-4 * expected_sum, "{config:?} {stored:?}");
            let close = losses.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() < 1e-5 * *b);
            assert!(close.count() * 10 >= losses.len() * 9, "{config:?} {stored:?}");
            let difference = (&log_p - &expected_log_p).abs().median().double_value(&[]);
            assert!(difference < 1e-5, "{config:?} {stored:?} {difference}");
            for (token, loss) in losses.iter().enumerate() {
                let log_p = log_p.double_value(&[token as i64, targets[token]]);
                assert!((loss + log_p).abs() < 1e-4, "{loss} {log_p}");
            }
        }
    }
}

/// Then no product is rounded in either way of computing.
#[test]
fn with_scales_that_are_powers_of_two_results_are_equal_to_the_bit() {
    tch::set_num_threads(1);
    for (i, config) in configs().iter().enumerate() {
        let (tokens, targets) = text(config, 9, 2);
        for zeros in [0.0, 0.6] {
            let stored = Stored { power_of_two: true, zeros, ..Stored::default() };
            let mut model = stored_model(config, stored, i as u64);
            // A bias is added to the sum here, and first in floating point.
            for layer in &model.layers {
                let _ = tch::no_grad(|| layer.bias.shallow_clone().zero_());
            }
            let (losses, sum, _) = results(&model, &tokens, &targets);
            model.use_packed_products(false);
            let (expected, expected_sum, _) = results(&model, &tokens, &targets);
            assert_eq!(losses, expected, "{config:?} {zeros}");
            assert!((sum - expected_sum).abs() <= 1e-12 * sum);
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let config = LmConfig::paper(70, 450).vocab(3000).layers(2).splits(Splits::At(vec![900]));
    for config in [config.clone(), config.widths([70, 20])] {
        let model = stored_model(&config, Stored { zeros: 0.5, ..Stored::default() }, 1);
        let (tokens, targets) = text(&config, 30, 4);
        let results = [1, 2].map(|threads| {
            tch::set_num_threads(threads);
            results(&model, &tokens, &targets)
        });
        tch::set_num_threads(1);
        let [(losses, sum, log_p), (expected, expected_sum, expected_log_p)] = results;
        assert_eq!((losses, sum), (expected, expected_sum));
        assert_eq!(log_p, expected_log_p);
    }
}

#[test]
fn other_models_keep_their_products() {
    let [config, ..] = configs();
    let mut model = QrnnLm::seeded(&config, CPU, 1).unwrap();
    assert!(!model.uses_packed_products().unwrap());
    // Without rounded inputs, products are in floating point.
    model.packed = stored_model(&config, Stored::default(), 1).packed;
    assert!(!model.uses_packed_products().unwrap());
    let mut model = stored_model(&config, Stored::default(), 1);
    model.set_precision(Precision::Torch);
    assert!(!model.uses_packed_products().unwrap());
    model.set_precision(Precision::Single);
    assert!(model.uses_packed_products().unwrap());
    assert!(model.rounded().unwrap().uses_packed_products().unwrap());
    // Weights that were changed are no longer those of the file.
    let weights = model.weight_copies().unwrap();
    model.set_weights(&weights).unwrap();
    assert!(!model.uses_packed_products().unwrap());
}
