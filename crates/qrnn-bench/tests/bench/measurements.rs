//! Runs the GPU benchmarks on the CPU: derived figures are consistent, and the PyTorch baselines
//! compute the same as our implementation.

use serde_json::Value;

use crate::program;

/// A small model on random tokens.
const SMALL: [&str; 5] = ["--types", "3000", "--splits", "200,1000,2000", "--json"];

/// Python with torch: $QRNN_PYTHON, or python3.
fn python() -> String {
    std::env::var("QRNN_PYTHON").unwrap_or_else(|_| "python3".into())
}

fn bench(args: &[&str]) -> Vec<Value> {
    let mut value = program::bench(args).json();
    serde_json::from_value(value["measurements"].take()).unwrap()
}

pub fn all<'a>(measurements: &'a [Value], what: &str) -> Vec<&'a Value> {
    measurements.iter().filter(|one| one["what"] == what).collect()
}

pub fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("{name} is not a number in {value}"))
}

fn assert_close(a: f64, b: f64) {
    assert!((a / b - 1.0).abs() < 1e-9, "{a} and {b}");
}

/// The baselines of a measurement of the first precision, whose figures are checked; none without torch.
fn baselines(measurement: &Value) -> &Vec<Value> {
    let baselines = measurement["peers"].as_array().unwrap();
    match baselines.len() {
        0 => qrnn::terminal::note(format_args!(
            "baselines not tested: {} has no torch (set QRNN_PYTHON)",
            python()
        )),
        n => assert_eq!(n, 3, "{measurement}"),
    }
    for baseline in baselines {
        let ours = number(measurement, "interleaved_seconds");
        assert_close(number(baseline, "ratio"), number(baseline, "seconds") / ours);
        assert!(baseline["written_by"].as_str().unwrap().contains("for this project"));
    }
    baselines
}

#[test]
fn steps_are_compared_with_limits_lower_bound_and_baselines() {
    let args = ["step", "--as-on-a-card", "--models", "8-12-split", "--bptt", "7"];
    let more = ["--batch-size", "3", "--formats", "fp32", "--steps", "20", "--python", &python()];
    let measured = bench(&[&args[..], &more, &SMALL].concat());
    let [copy, product] = ["copy", "matrix product"].map(|what| all(&measured, what)[0]);
    assert_close(number(copy, "bytes_per_second"), number(copy, "bytes") / number(copy, "seconds"));
    let [step] = all(&measured, "training step")[..] else { panic!("{measured:?}") };
    // Complete blocks of 16.
    assert_eq!((number(step, "runs"), number(step, "words")), (32.0, 21.0));
    let half: Vec<f64> = serde_json::from_value(step["middle_half"].clone()).unwrap();
    assert!(half[0] <= number(step, "seconds") && number(step, "seconds") <= half[1]);
    assert_close(number(step, "words_per_second"), 21.0 / number(step, "wall_seconds"));
    assert_close(number(step, "epoch_seconds"), 103_227_021.0 / number(step, "words_per_second"));
    assert_close(number(step, "minutes_for_20_epochs"), number(step, "epoch_seconds") / 3.0);
    let counted = step["counted"].as_array().unwrap().iter().map(|piece| {
        let by_rate = number(piece, "operations") / number(product, "operations_per_second");
        by_rate.max(number(piece, "bytes") / number(copy, "bytes_per_second"))
    });
    assert_close(number(step, "floor_seconds"), counted.sum());
    for stage in step["stages"].as_array().unwrap() {
        let (seconds, bytes) = (number(stage, "seconds"), stage["bytes"].as_f64());
        if let Some(bytes) = bytes {
            let bandwidth = number(copy, "bytes_per_second");
            assert_close(number(stage, "share_of_bandwidth"), bytes / seconds / bandwidth);
        }
    }
    let names: Vec<_> = step["stages"].as_array().unwrap().iter().map(|s| &s["stage"]).collect();
    for name in ["matrix products", "pooling forward", "pooling backward", "optimizer"] {
        assert!(names.iter().any(|other| *other == name), "{name} is not in {names:?}");
    }
    if !baselines(step).is_empty() {
        let difference = number(step, "largest_loss_difference");
        assert!(difference < 1e-4, "{difference}");
    }
}

#[test]
fn pooling_is_compared_with_bandwidth_and_the_published_design() {
    let args = ["pool", "--as-on-a-card", "--seq", "20", "--batch", "3", "--hidden", "50"];
    let measured = bench(&[&args[..], &["--runs", "5", "--json", "--python", &python()]].concat());
    let copy = number(all(&measured, "copy")[0], "bytes_per_second");
    for (what, passes, saved_states) in [("forward", 4.0, 0.0), ("forward and backward", 11.0, 6.0)]
    {
        let kinds = all(&measured, what);
        assert_eq!(kinds.iter().map(|one| &one["kind"]).collect::<Vec<_>>(), ["f32", "bf16"]);
        for (one, size) in kinds.iter().zip([4.0, 2.0]) {
            let row = 3.0 * 50.0;
            assert_close(number(one, "bytes"), row * (passes * 20.0 * size + saved_states * 4.0));
            let share = number(one, "bytes") / number(one, "seconds") / copy;
            assert_close(number(one, "share_of_bandwidth"), share);
            assert!(number(one, "call_seconds") >= number(one, "seconds"));
            if one["against"].is_null() {
                eprintln!("no baseline: {} has no torch (set QRNN_PYTHON)", python());
                continue;
            }
            assert_close(
                number(one, "ratio"),
                number(one, "against_seconds") / number(one, "interleaved_call_seconds"),
            );
            let left_out: Vec<_> = one["peers"].as_array().unwrap().iter().collect();
            let left_out = left_out.iter().filter(|baseline| baseline["failed"] == "needs a GPU");
            assert_eq!(left_out.count(), 2, "{one}");
        }
    }
}

#[test]
fn evaluation_is_compared_with_the_baselines() {
    let args = ["evaluate", "--as-on-a-card", "--model", "8-12", "--tokens", "200", "--bptt", "50"];
    let more = ["--runs", "1", "--formats", "fp32", "--python", &python()];
    let measured = bench(&[&args[..], &more, &SMALL].concat());
    let [ours] = all(&measured, "evaluation of the entry")[..] else { panic!("{measured:?}") };
    assert_eq!(number(ours, "tokens"), 200.0);
    for (baseline, tolerance) in baselines(ours).iter().zip([1e-5, 1e-5, 2e-2]) {
        let difference = number(baseline, "loss_difference");
        assert!(difference < tolerance, "{baseline}");
    }
}

/// torch's products and ours differ only by rounding; another seed gives another run.
#[test]
fn curves_of_precisions_are_compared_with_those_of_a_seed() {
    let args = ["curves", "--model", "8-12-split", "--bptt", "7", "--batch-size", "3"];
    let more = ["--formats", "fp32,torch", "--steps", "60", "--parts", "6"];
    let measured = bench(&[&args[..], &more, &SMALL].concat());
    let curves = all(&measured, "losses of a run");
    let named = |one: &&Value| (one["format"].as_str().unwrap().to_owned(), number(one, "seed"));
    let expected = [("fp32", 1.0), ("torch", 1.0), ("fp32", 2.0)].map(|(f, s)| (f.to_owned(), s));
    assert_eq!(curves.iter().map(named).collect::<Vec<_>>(), expected);
    assert!(curves.iter().all(|one| one["losses"].as_array().unwrap().len() == 6));
    let largest = all(&measured, "furthest losses")[0];
    assert!(number(largest, "difference") < 1e-3, "{largest}");
    assert!(number(largest, "difference_of_a_seed") > 1e-2, "{largest}");
}
