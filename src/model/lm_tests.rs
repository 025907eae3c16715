use super::*;
use crate::Error;
use crate::model::BatchShare;
use crate::random::{Purpose, Stream};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn config() -> LmConfig {
    LmConfig::paper(6, 10).vocab(30).layers(3).splits(crate::model::Splits::At(vec![8, 16]))
}

fn tokens(seq: i64, batch: i64, vocab: i64) -> (Tensor, Vec<i64>) {
    let ids: Vec<i64> = (0..seq * batch).map(|i| (i * i * 7 + i) % vocab).collect();
    let targets = ids.iter().map(|id| (id * 5 + 3) % vocab).collect();
    (Tensor::from_slice(&ids).view([seq, batch]), targets)
}

#[test]
fn parameters_have_the_names_and_shapes_of_awd_lstm_lm() {
    let model = QrnnLm::seeded(&config(), DOUBLE, 1).unwrap();
    let shapes: Vec<_> = model.parameters().into_iter().map(|(name, t)| (name, t.size())).collect();
    let expected: Vec<(String, Vec<i64>)> = [
        ("encoder.weight", vec![30, 6]),
        ("rnns.0.linear.weight", vec![30, 12]),
        ("rnns.0.linear.bias", vec![30]),
        ("rnns.1.linear.weight", vec![30, 10]),
        ("rnns.1.linear.bias", vec![30]),
        ("rnns.2.linear.weight", vec![18, 10]),
        ("rnns.2.linear.bias", vec![18]),
        ("decoder.bias", vec![30]),
        ("criterion.tail_vectors", vec![2, 6]),
        ("criterion.tail_bias", vec![2]),
    ]
    .map(|(name, size)| (name.to_owned(), size))
    .into();
    assert_eq!(shapes, expected);
}

/// Includes all dropouts.
#[test]
fn the_gradient_equals_central_differences() {
    let config = config().embedding_dropout(0.2).weight_drop(0.2).zoneout(0.2);
    let model = QrnnLm::seeded(&config, DOUBLE, 3).unwrap();
    let (input, targets) = tokens(4, 2, 30);
    let stream = Stream { seed: 1, purpose: Purpose::Dropout, counter: 0 };
    let masks =
        DropoutMasks::sample(&config, 4, &BatchShare::whole(2), model.mask_options(), stream)
            .unwrap();
    let loss = || {
        let state = model.zero_state(2).unwrap();
        let out = model.forward(&input, &state, Some(&masks)).unwrap();
        model.loss(&out.output, &targets).unwrap()
    };
    loss().backward();
    for (name, tensor) in model.parameters() {
        let _no_grad = tch::no_grad_guard();
        let (flat, grad) = (tensor.view(-1), tensor.grad().view(-1));
        for i in (0..tensor.numel() as i64).step_by(7) {
            let at = |delta: f64| {
                let _ = flat.get(i).g_add_scalar_(delta);
                let value = loss().double_value(&[]);
                let _ = flat.get(i).g_add_scalar_(-delta);
                value
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            let error = (numeric - grad.double_value(&[i])).abs();
            assert!(error < 1e-8, "{name}[{i}]: {error:e}");
        }
    }
}

#[test]
fn two_windows_with_carried_state_equal_one_long_window() {
    let model = QrnnLm::seeded(&config(), DOUBLE, 3).unwrap();
    let (input, _) = tokens(9, 2, 30);
    let zero = model.zero_state(2).unwrap();
    let whole = model.forward(&input, &zero, None).unwrap();
    let first = model.forward(&input.narrow(0, 0, 4), &zero, None).unwrap();
    let second = model.forward(&input.narrow(0, 4, 5), &first.state, None).unwrap();
    let both = Tensor::cat(&[first.output, second.output], 0);
    assert!((both - whole.output).abs().max().double_value(&[]) < 1e-14);
}

#[test]
fn weights_and_sizes_are_read_back_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let options = (Kind::Float, Device::Cpu);
    let model = QrnnLm::seeded(&config(), options, 3).unwrap();
    model.save_weights(&path).unwrap();
    let settings = LmConfig::paper(1, 1).splits(config().splits);
    let loaded = QrnnLm::from_file(&path, &settings, Device::Cpu).unwrap();
    assert_eq!(loaded.config().nhid, 10);
    for ((_, a), (_, b)) in model.parameters().into_iter().zip(loaded.parameters()) {
        assert_eq!(a, b);
    }
}

#[test]
fn a_damaged_or_incompatible_weight_file_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let options = (Kind::Float, Device::Cpu);
    let mut model = QrnnLm::seeded(&config(), options, 3).unwrap();
    model.save_weights(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for bytes in [&whole[..whole.len() - 1], &whole[..5], b"", b"not safetensors at all"] {
        std::fs::write(&path, bytes).unwrap();
        let error = model.load_weights(&path).unwrap_err();
        assert!(matches!(error, Error::BadFile { .. }), "{error}");
        assert!(error.to_string().contains("model.safetensors"), "{error}");
    }
    let other = QrnnLm::seeded(&config().vocab(31), options, 3).unwrap();
    other.save_weights(&path).unwrap();
    let error = model.load_weights(&path).unwrap_err().to_string();
    assert!(error.contains("encoder.weight") && error.contains("use the corpus"), "{error}");
    for (other, field) in [
        (config().emsize(5), "config.emsize 5"),
        (config().nhid(13), "config.nhid 13"),
        (config().layers(5), "config.layers 5"),
    ] {
        QrnnLm::seeded(&other, options, 3).unwrap().save_weights(&path).unwrap();
        let error = model.load_weights(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("a model of {field}, but this call has")), "{error}");
    }
}

#[test]
fn a_gpu_is_used_or_its_absence_is_an_error_that_names_the_cpu() {
    match QrnnLm::seeded(&config(), (Kind::Float, Device::Cuda(0)), 1) {
        Ok(model) => assert!(tch::Cuda::is_available() && model.options().1 == Device::Cuda(0)),
        Err(error) => {
            assert!(matches!(error, Error::Ops(_) | Error::Unavailable { .. }), "{error}");
            assert!(error.to_string().contains("Device::Cpu"), "{error}");
        }
    }
}
