//! Adaptive models: clusters of different widths, with and without projections.

use std::collections::HashMap;
use std::path::Path;

use qrnn_ops::cuda::host_shim::as_on_a_gpu;
use qrnn_ops::matmul::Precision;
use tch::{Device, Kind, Tensor};

use super::*;
use crate::Error;
use crate::data::{Corpus, IdOrder};
use crate::files::tensor_file;
use crate::random::{Purpose, Stream};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

fn published() -> LmConfig {
    LmConfig::paper(6, 10).vocab(30).layers(3).init_range(0.5).splits(Splits::At(vec![8, 16]))
}

/// A head with and without a projection, tails of all kinds, and one cluster alone.
fn configs() -> Vec<LmConfig> {
    let mut all: Vec<_> =
        [[6, 3, 1], [4, 6, 2], [5, 3, 2], [6, 6, 6]].map(|w| published().widths(w)).into();
    all.push(published().splits(Splits::None).widths([4]));
    all
}

fn tokens(seq: i64, batch: i64) -> (Tensor, Vec<i64>) {
    let ids: Vec<i64> = (0..seq * batch).map(|i| (i * i * 7 + i) % 30).collect();
    let targets = ids.iter().map(|id| (id * 5 + 3) % 30).collect();
    (Tensor::from_slice(&ids).view([seq, batch]), targets)
}

/// Loss and gradients of a training step; tombstones differ from 0.
fn step(model: &mut QrnnLm, masks: Option<&DropoutMasks>) -> (f64, Vec<Tensor>) {
    tch::no_grad(|| {
        for (name, tensor) in model.parameters() {
            if name.starts_with("criterion.") {
                let pattern = Tensor::arange(tensor.numel() as i64, model.options());
                tensor.shallow_clone().copy_(&pattern.sin().view_as(tensor));
            }
        }
    });
    model.refresh_operands().unwrap();
    let (ids, targets) = tokens(5, 4);
    let ids: Vec<i64> = Vec::try_from(ids.view(-1)).unwrap();
    let (tokens, targets) = model.upload_batch(&ids, targets, 4).unwrap();
    let embedded = tch::no_grad(|| model.embed(&tokens).unwrap()).set_requires_grad(true);
    let state = model.zero_state(4).unwrap();
    let forwarded = model.forward_embedded(&embedded, &tokens, &state, masks, true).unwrap();
    let n = targets.tokens();
    let loss = model.training_loss(&forwarded.features, targets, n).unwrap().mean;
    let gradients = model.gradients(&loss, &embedded, &tokens).unwrap();
    (loss.double_value(&[]), gradients)
}

fn dropout(config: &LmConfig, model: &QrnnLm, (seq, batch): (i64, i64)) -> DropoutMasks {
    let stream = Stream { seed: 1, purpose: Purpose::Dropout, counter: 0 };
    DropoutMasks::sample(config, seq, &BatchShare::whole(batch), model.mask_options(), stream)
        .unwrap()
}

#[test]
fn clusters_have_an_embedding_each_and_narrow_ones_a_projection() {
    let model = QrnnLm::seeded(&published().widths([6, 3, 1]), DOUBLE, 1).unwrap();
    let shapes: Vec<_> = model.parameters().into_iter().map(|(name, t)| (name, t.size())).collect();
    let shapes: Vec<_> = shapes.iter().map(|(name, size)| (name.as_str(), &size[..])).collect();
    let expected: [(&str, &[i64]); 5] = [
        ("encoder.0.weight", &[8, 6]),
        ("encoder.1.weight", &[8, 3]),
        ("encoder.2.weight", &[14, 1]),
        ("projections.1.weight", &[6, 3]),
        ("projections.2.weight", &[6, 1]),
    ];
    assert_eq!(shapes[..5], expected);
    assert_eq!(shapes[5].0, "rnns.0.linear.weight");
    let last: [(&str, &[i64]); 3] = [
        ("decoder.bias", &[30]),
        ("criterion.tail_vectors", &[2, 6]),
        ("criterion.tail_bias", &[2]),
    ];
    assert_eq!(shapes[11..], last);
    for config in configs() {
        let model = QrnnLm::seeded(&config, FLOAT, 1).unwrap();
        let tombstones = if config.splits == Splits::None { 0 } else { 2 * 6 + 2 };
        assert_eq!(model.parameter_count(), config.parameters() + tombstones);
    }
}

/// Includes all dropouts, by autograd and as training computes them.
#[test]
fn the_gradients_equal_central_differences() {
    tch::set_num_threads(1);
    for config in configs() {
        let config = config.embedding_dropout(0.2).weight_drop(0.2).zoneout(0.2);
        let mut model = QrnnLm::seeded(&config, DOUBLE, 3).unwrap();
        let masks = dropout(&config, &model, (5, 4));
        let (value, gradients) = step(&mut model, Some(&masks));
        let (input, targets) = tokens(5, 4);
        let loss = || {
            let state = model.zero_state(4).unwrap();
            let out = model.forward(&input, &state, Some(&masks)).unwrap();
            model.loss(&out.output, &targets).unwrap()
        };
        assert!((loss().double_value(&[]) - value).abs() < 1e-12);
        loss().backward();
        for ((name, tensor), gradient) in model.parameters().into_iter().zip(&gradients) {
            let _no_grad = tch::no_grad_guard();
            let (flat, grad) = (tensor.view(-1), tensor.grad().view(-1));
            assert!((gradient.reshape(-1) - &grad).abs().max().double_value(&[]) < 1e-12, "{name}");
            let every = if name.starts_with("rnns") { 7 } else { 1 };
            for i in (0..tensor.numel() as i64).step_by(every) {
                let at = |delta: f64| {
                    let _ = flat.get(i).g_add_scalar_(delta);
                    let value = loss().double_value(&[]);
                    let _ = flat.get(i).g_add_scalar_(-delta);
                    value
                };
                let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                let error = (numeric - grad.double_value(&[i])).abs();
                assert!(error < 1e-8, "{:?} {name}[{i}]: {error:e}", config.widths);
            }
        }
    }
}

/// To the bit: initial weights, loss, and gradients with those of the clusters in place of the embedding's.
#[test]
fn widths_of_e_give_the_published_model() {
    tch::set_num_threads(1);
    let mut whole = QrnnLm::seeded(&published(), FLOAT, 3).unwrap();
    let mut cut = QrnnLm::seeded(&published().widths([6, 6, 6]), FLOAT, 3).unwrap();
    let joined = |tensors: &[Tensor]| -> Vec<Tensor> {
        let mut all = vec![Tensor::cat(&tensors[..3], 0)];
        all.extend(tensors[3..].iter().map(Tensor::shallow_clone));
        all
    };
    assert_eq!(joined(&cut.weight_copies().unwrap()), whole.weight_copies().unwrap());
    for on_gpu in [false, true] {
        let run = |model: &mut QrnnLm| {
            if on_gpu { as_on_a_gpu(|| step(model, None)) } else { step(model, None) }
        };
        let (expected, gradients) = run(&mut whole);
        let (loss, of_clusters) = run(&mut cut);
        assert!((loss - expected).abs() < 1e-6);
        for (ours, expected) in joined(&of_clusters).iter().zip(&gradients) {
            assert!((ours - expected).abs().max().double_value(&[]) < 1e-6);
            assert!(on_gpu || ours == expected);
        }
    }
}

/// The GPU's operations on the host shim.
#[test]
fn the_operations_of_a_gpu_give_the_loss_and_gradients_of_the_cpu() {
    tch::set_num_threads(1);
    for config in configs() {
        let config = config.embedding_dropout(0.1).weight_drop(0.1);
        let run = |on_gpu: bool, precision: Precision| {
            let work = || {
                let mut model = QrnnLm::seeded(&config, FLOAT, 3).unwrap();
                model.set_precision(precision);
                let masks = dropout(&config, &model, (5, 4));
                let step = step(&mut model, Some(&masks));
                let (ids, targets) = tokens(5, 4);
                let rounded = model.rounded().unwrap();
                let state = rounded.zero_state(4).unwrap();
                let output = rounded.forward(&ids, &state, None).unwrap().output;
                (step, rounded.loss_sum(&output, &targets).unwrap())
            };
            if on_gpu { as_on_a_gpu(work) } else { work() }
        };
        let ((loss, gradients), sum) = run(false, Precision::Single);
        for (on_gpu, precision, tolerance) in [
            (true, Precision::Single, 1e-5),
            (true, Precision::Bf16, 3e-2),
            (false, Precision::Bf16, 3e-2),
        ] {
            let ((ours, our_gradients), our_sum) = run(on_gpu, precision);
            assert!((ours - loss).abs() < tolerance, "{precision:?}: {ours} and {loss}");
            assert!((our_sum - sum).abs() < 20.0 * tolerance, "{precision:?}: {our_sum} and {sum}");
            for (i, (ours, expected)) in our_gradients.iter().zip(&gradients).enumerate() {
                let error = (ours - expected).norm() / expected.norm().clamp_min(1e-3);
                let error = error.double_value(&[]);
                let widths = &config.widths;
                assert!(error < tolerance, "{widths:?} {precision:?} gradient {i}: {error:e}");
            }
        }
    }
}

#[test]
fn log_probabilities_give_the_loss_and_sum_to_one() {
    for config in configs() {
        let mut model = QrnnLm::seeded(&config, DOUBLE, 3).unwrap();
        step(&mut model, None);
        let (ids, targets) = tokens(5, 4);
        let output = model.forward(&ids, &model.zero_state(4).unwrap(), None).unwrap().output;
        let log_p = model.log_probabilities(&output).unwrap();
        assert_eq!(log_p.size(), [20, 30]);
        let sums = log_p.exp().sum_dim_intlist(1, false, None::<Kind>);
        assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-12);
        let loss = model.loss(&output, &targets).unwrap().double_value(&[]);
        let expected = log_p.nll_loss(&Tensor::from_slice(&targets)).double_value(&[]);
        assert!((loss - expected).abs() < 1e-12);
        assert!((model.loss_sum(&output, &targets).unwrap() / 20.0 - loss).abs() < 1e-12);
    }
}

/// The embeddings of all clusters, and the logits, have the scale of a published model's.
#[test]
fn initial_projections_keep_the_scale() {
    tch::set_num_threads(1);
    let config = LmConfig::paper(200, 8).vocab(900).layers(2).splits(Splits::At(vec![300, 600]));
    let tokens = Tensor::arange(900, (Kind::Int64, Device::Cpu)).view([900, 1]);
    let hidden = Tensor::randn([1, 8, 200], FLOAT);
    let scale = |config: LmConfig| {
        let _no_grad = tch::no_grad_guard();
        let model = QrnnLm::seeded(&config, FLOAT, 3).unwrap();
        let embedded = model.embed(&tokens).unwrap();
        let logits: Vec<Tensor> = (0..3)
            .map(|k| {
                let rows = match &model.softmax.weights[..] {
                    [all] => all.narrow(0, 300 * k as i64, 300),
                    clusters => clusters[k].shallow_clone(),
                };
                model.projected(&hidden, k).unwrap().matmul(&rows.tr())
            })
            .collect();
        let spread = |t: &Tensor| t.std(true).double_value(&[]);
        let parts = (0..3).map(|k| spread(&embedded.narrow(0, 300 * k, 300)));
        parts.chain(logits.iter().map(spread)).collect::<Vec<f64>>()
    };
    let expected = scale(config.clone());
    for (ours, expected) in scale(config.widths([200, 50, 12])).iter().zip(&expected) {
        assert!((ours / expected - 1.0).abs() < 0.15, "{ours} and {expected}");
    }
}

#[test]
fn an_id_outside_the_vocabulary_is_refused() {
    for config in configs() {
        let model = QrnnLm::seeded(&config, FLOAT, 3).unwrap();
        for id in [30i64, -1] {
            assert!(model.embed(&Tensor::from_slice(&[id])).is_err(), "{id}");
        }
    }
}

#[test]
fn a_file_gives_the_model_back_with_and_without_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for config in configs() {
        let model = QrnnLm::seeded(&config, FLOAT, 3).unwrap();
        let bare = |path: &Path| tensor_file::write(path, &model.parameters(), HashMap::new());
        for save in [&|path: &Path| model.save_weights(path), &bare as &dyn Fn(&Path) -> _] {
            save(&path).unwrap();
            let loaded = QrnnLm::open(&path, Device::Cpu).unwrap();
            assert_eq!(loaded.config().widths, config.widths);
            assert_eq!(loaded.config().splits, config.splits);
            assert_eq!((loaded.config().emsize, loaded.config().nhid), (6, 10));
            for ((_, a), (_, b)) in model.parameters().into_iter().zip(loaded.parameters()) {
                assert_eq!(a, b);
            }
        }
        assert_eq!(QrnnLm::open(&path, Device::Cpu).unwrap().ids(), Some(IdOrder::Frequency));
    }
}

#[test]
fn weights_of_other_widths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let adaptive = || published().widths([6, 3, 1]);
    for (saved, config, message) in [
        (published(), adaptive(), "a model of config.widths none, but this call has 6,3,1"),
        (adaptive(), published(), "a model of config.widths 6,3,1, but this call has none"),
        (adaptive(), published().widths([6, 4, 1]), "config.widths 6,3,1, but this call has 6,4,1"),
        (
            adaptive(),
            adaptive().splits(Splits::At(vec![8, 17])),
            "was trained with config.splits 8,16",
        ),
    ] {
        QrnnLm::seeded(&saved, FLOAT, 3).unwrap().save_weights(&path).unwrap();
        let mut model = QrnnLm::seeded(&config, FLOAT, 4).unwrap();
        let before = model.weight_copies().unwrap();
        let error = model.load_weights(&path).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(model.weight_copies().unwrap(), before);
    }
}

fn corpus() -> Corpus {
    let ids = |n: u32, step: u32| (0..n).map(|i| (i * step + i * i / 7) % 30).collect::<Vec<_>>();
    Corpus::from_ids("made", 30, [ids(400, 1), ids(60, 3), ids(40, 5)]).unwrap()
}

#[test]
fn ids_by_frequency_are_required_stored_and_compared() {
    let (first, frequent) = (corpus(), corpus().by_frequency());
    let error = QrnnLm::new(&published().widths([6, 3, 1]), &first, Device::Cpu).unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error}");
    assert!(error.to_string().contains("config.widths 6,3,1"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for config in [published(), published().widths([6, 3, 1])] {
        let model = QrnnLm::new(&config, &frequent, Device::Cpu).unwrap();
        check_vocabulary(&model, &frequent).unwrap();
        let error = check_vocabulary(&model, &first).unwrap_err().to_string();
        assert!(error.contains("made: has its ids in order of first appearance"), "{error}");
        assert!(error.contains("`.by_frequency()`"), "{error}");
        model.save_weights(&path).unwrap();
        let loaded = QrnnLm::open(&path, Device::Cpu).unwrap();
        assert_eq!(loaded.ids(), Some(IdOrder::Frequency));
        check_vocabulary(&loaded, &frequent).unwrap();
    }
    // The last file is adaptive; that of a published model, into a model of the other order.
    QrnnLm::new(&published(), &frequent, Device::Cpu).unwrap().save_weights(&path).unwrap();
    let mut model = QrnnLm::new(&published(), &first, Device::Cpu).unwrap();
    let error = model.load_weights(&path).unwrap_err().to_string();
    assert!(error.contains("by frequency") && error.contains("`.by_frequency()`"), "{error}");
    let model = QrnnLm::new(&published(), &first, Device::Cpu).unwrap();
    let error = check_vocabulary(&model, &frequent).unwrap_err().to_string();
    assert!(error.contains("leave out `.by_frequency()`"), "{error}");
    // Files of models in the default order do not state it.
    model.save_weights(&path).unwrap();
    let metadata = tensor_file::read(&path, "").unwrap().metadata;
    assert!(!metadata.contains_key("qrnn-ids"));
    assert_eq!(QrnnLm::open(&path, Device::Cpu).unwrap().ids(), Some(IdOrder::FirstAppearance));
}
