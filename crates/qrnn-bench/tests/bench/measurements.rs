//! Small benchmarks on the CPU: what they measure is possible, and the PyTorch baselines compute the same as
//! our implementation.

use serde_json::Value;

use crate::program;

/// A small model on random tokens.
const SMALL: [&str; 5] = ["--types", "3000", "--splits", "200,1000,2000", "--json"];

const STEP: [&str; 11] = [
    "step",
    "--models",
    "8-12-split",
    "--bptt",
    "7",
    "--batch-size",
    "3",
    "--formats",
    "fp32,bf16",
    "--steps",
    "20",
];

const EVALUATE: [&str; 11] = [
    "evaluate",
    "--model",
    "8-12",
    "--tokens",
    "200",
    "--bptt",
    "50",
    "--runs",
    "1",
    "--formats",
    "fp32,torch",
];

const POOL: [&str; 8] =
    ["pool", "--cases", "20x3x50", "--runs", "5", "--json", "--peer-limit", "100"];

/// The baselines of a step and an evaluation.
const MODES: &str = "fp32,bf16,published,tf32,tuned";

/// Python with torch: $QRNN_PYTHON, or python3.
fn python() -> String {
    std::env::var("QRNN_PYTHON").unwrap_or_else(|_| "python3".into())
}

fn bench(args: &[&[&str]]) -> Vec<Value> {
    let mut value = program::bench(&args.concat()).json();
    serde_json::from_value(value["measurements"].take()).unwrap()
}

pub fn all<'a>(measurements: &'a [Value], what: &str) -> Vec<&'a Value> {
    measurements.iter().filter(|one| one["what"] == what).collect()
}

pub fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("{name} is not a number in {value}"))
}

fn texts<'a>(values: &[&'a Value], name: &str) -> Vec<&'a str> {
    values.iter().map(|value| value[name].as_str().unwrap()).collect()
}

/// The peers of a measurement, none of which has failed.
fn peers<'a>(measurement: &'a Value, names: &str) -> Vec<&'a Value> {
    let peers: Vec<&Value> = measurement["peers"].as_array().unwrap().iter().collect();
    assert_eq!(texts(&peers, "peer").join(","), names, "{measurement}");
    assert!(peers.iter().all(|peer| number(peer, "ratio") > 0.0), "{measurement}");
    peers
}

#[test]
fn compressed_models_are_compared_with_the_entry_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let save = folder.path().to_str().unwrap();
    let small = ["--model", "12-16", "--types", "3000", "--tokens", "300", "--words", "5"];
    let measured =
        bench(&[&["compress", "--json", "--runs", "1", "--copies", "1", "--save", save], &small]);
    let products = all(&measured, "product");
    assert_eq!(products.len(), 5);
    let (generation, evaluation) = (all(&measured, "generation"), all(&measured, "evaluation"));
    assert_eq!((generation.len(), evaluation.len()), (4, 3));
    for one in products.iter().chain(&evaluation) {
        let ratio = number(one, "against_seconds") / number(one, "seconds");
        assert!((number(one, "ratio") - ratio).abs() < 1e-9 * ratio, "{one}");
    }
    assert!(generation.iter().all(|one| number(one, "words_per_second") > 0.0));
    assert!(folder.path().join("light/model.safetensors").is_file());
}

#[test]
fn steps_are_compared_with_limits_and_a_lower_bound() {
    let measured = bench(&[&STEP, &SMALL, &["--peers", "none"]]);
    let steps = all(&measured, "training step");
    assert_eq!(texts(&steps, "format"), ["fp32", "bf16"]);
    for step in steps {
        assert_eq!((number(step, "runs"), number(step, "words")), (20.0, 21.0));
        let half: Vec<f64> = serde_json::from_value(step["middle_half"].clone()).unwrap();
        let seconds = number(step, "seconds");
        assert!(half[0] <= seconds && seconds <= half[1]);
        assert!(number(step, "floor_seconds") < seconds, "{step}");
        assert!((0.0..1.5).contains(&number(step, "share_in_products")), "{step}");
        // libtorch alone takes more than 50 MB.
        assert!((5e7..4e9).contains(&number(step, "peak_bytes")), "{step}");
        let stages: Vec<&Value> = step["stages"].as_array().unwrap().iter().collect();
        let names = texts(&stages, "stage");
        for name in ["matrix products", "pooling forward", "pooling backward", "optimizer"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        // The bytes of the optimizer: about 28 for each of 29,600 parameters.
        let optimizer = stages.iter().find(|stage| stage["stage"] == "optimizer").unwrap();
        assert!((8e5..1e6).contains(&number(optimizer, "bytes")), "{optimizer}");
    }
}

#[test]
#[ignore = "needs a Python with torch, $QRNN_PYTHON or python3"]
fn with_torch_steps_are_compared_with_pytorch() {
    let python = ["--peers", MODES, "--python", &python()];
    let measured = bench(&[&STEP, &SMALL, &python]);
    for (step, tolerance) in all(&measured, "training step").into_iter().zip([1e-4, 2e-2]) {
        peers(step, MODES);
        assert!(number(step, "interleaved_seconds") > 0.0);
        assert!(number(step, "largest_loss_difference") < tolerance, "{step}");
    }
}

#[test]
fn pooling_is_compared_with_double_precision_and_a_loop() {
    let measured = bench(&[&POOL]);
    for what in ["forward", "forward and backward"] {
        let kinds = all(&measured, what);
        assert_eq!(texts(&kinds, "kind"), ["f32", "bf16"]);
        for (one, deviation) in kinds.iter().zip([1e-5, 1e-2]) {
            assert!(number(one, "off_from_float64") < deviation, "{one}");
            assert!(number(one, "call_seconds") >= number(one, "seconds"), "{one}");
            assert_eq!(one["against"], "a loop of tensor operations");
            // A loop of 20 steps takes more than a hundred calls of libtorch.
            assert!(number(one, "ratio") > 1.0, "{one}");
            peers(one, "loop");
        }
    }
}

#[test]
#[ignore = "needs a Python with torch, $QRNN_PYTHON or python3"]
fn with_torch_pooling_is_compared_with_the_published_design() {
    let measured = bench(&[&POOL, &["--peers", "published,hgrn,scan", "--python", &python()]]);
    let of = |peer: &str| {
        let peers = all(&measured, "peer").into_iter().filter(|one| one["peer"] == peer);
        peers.collect::<Vec<_>>()
    };
    // Forward, and forward with backward, in fp32.
    let published = of("published");
    assert_eq!(texts(&published, "kind"), ["f32", "f32"]);
    assert!(published.iter().all(|one| number(one, "off_from_float64") < 1e-6), "{published:?}");
    for package in ["hgrn", "scan"] {
        assert_eq!(texts(&of(package), "failed"), ["needs a GPU"]);
    }
}

/// torch's products and ours differ only by rounding.
#[test]
fn evaluations_in_two_precisions_agree() {
    let measured = bench(&[&EVALUATE, &SMALL, &["--peers", "none"]]);
    let ours = all(&measured, "evaluation of the entry");
    let losses: Vec<f64> = ours.iter().map(|one| number(one, "loss")).collect();
    assert!((losses[0] / losses[1] - 1.0).abs() < 1e-5, "{losses:?}");
    for one in ours {
        assert_eq!(number(one, "tokens"), 200.0);
        assert!((0.0..=1.0).contains(&number(one, "share_in_products")), "{one}");
    }
}

#[test]
#[ignore = "needs a Python with torch, $QRNN_PYTHON or python3"]
fn with_torch_evaluation_is_compared_with_pytorch() {
    let measured = bench(&[&EVALUATE, &SMALL, &["--peers", MODES, "--python", &python()]]);
    for ours in all(&measured, "evaluation of the entry") {
        for peer in peers(ours, MODES) {
            let rounds = peer["peer"] == "bf16" || peer["peer"] == "tuned";
            let tolerance = if rounds { 2e-2 } else { 1e-5 };
            assert!(number(peer, "loss_difference") < tolerance, "{peer}");
        }
    }
}

/// torch's products and ours differ only by rounding; another seed gives another run.
#[test]
fn curves_of_precisions_are_compared_with_those_of_a_seed() {
    let args = ["curves", "--model", "8-12-split", "--bptt", "7", "--batch-size", "3"];
    let more = ["--formats", "fp32,torch", "--steps", "60", "--parts", "6"];
    let measured = bench(&[&args, &more, &SMALL]);
    let curves = all(&measured, "losses of a run");
    let named = |one: &&Value| (one["format"].as_str().unwrap().to_owned(), number(one, "seed"));
    let expected = [("fp32", 1.0), ("torch", 1.0), ("fp32", 2.0)].map(|(f, s)| (f.to_owned(), s));
    assert_eq!(curves.iter().map(named).collect::<Vec<_>>(), expected);
    assert!(curves.iter().all(|one| one["losses"].as_array().unwrap().len() == 6));
    let largest = all(&measured, "furthest losses")[0];
    assert!(number(largest, "difference") < 1e-3, "{largest}");
    assert!(number(largest, "difference_of_a_seed") > 1e-2, "{largest}");
}
