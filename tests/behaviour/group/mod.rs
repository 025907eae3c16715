//! Data-parallel training: several processes of `reproduce train` that a launcher or a shell loop has started.

mod equality;
mod failures;
mod interrupted;
mod launch;
mod machines;
mod mismatches;
mod ranks;
mod separate_disks;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::program::Ran;
use ranks::{Ended, train_alone};

/// What the losses may differ by, since sums over processes round in another order.
const TOLERANCE: f64 = 2e-6;

/// Asserts that a run of some `--steps` gives the losses of one process with these flags.
#[track_caller]
fn assert_as_alone(run: &Value, flags: &str) {
    let alone = alone(flags);
    let (own, expected) = (losses(run), losses(&alone));
    // A model that learns nothing would have equal losses, too.
    let learns = expected.iter().any(|loss| *loss < expected[0] - 0.1);
    assert!(expected.len() < 30 || learns, "{flags}");
    // Before the first step, the weights are the same to the bit.
    assert_eq!(own[0].to_bits(), expected[0].to_bits(), "{flags}");
    assert_close("losses", &own, &expected, flags);
    assert_close("test loss", &[number(&run["test_loss"])], &[number(&alone["test_loss"])], flags);
    for loss in ["train_loss", "valid_loss"] {
        let of_epochs = |run: &Value| -> Vec<f64> {
            run["epochs"].as_array().unwrap().iter().map(|epoch| number(&epoch[loss])).collect()
        };
        assert_close(loss, &of_epochs(run), &of_epochs(&alone), flags);
    }
}

#[track_caller]
fn assert_close(what: &str, own: &[f64], expected: &[f64], flags: &str) {
    assert_eq!(own.len(), expected.len(), "{what} with {flags}");
    for (i, (a, b)) in own.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= TOLERANCE, "{what} {i} with {flags}: {a} instead of {b}");
    }
}

/// The result of one process with these flags, which is computed once.
fn alone(flags: &str) -> Value {
    static RUNS: Mutex<BTreeMap<String, Value>> = Mutex::new(BTreeMap::new());
    let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
    let run = runs.entry(flags.to_owned()).or_insert_with(|| {
        let folder = tempfile::tempdir().unwrap();
        train_alone(flags, &folder.path().join("alone")).json()
    });
    run.clone()
}

fn losses(run: &Value) -> Vec<f64> {
    run["losses"].as_array().unwrap().iter().map(number).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// The result of ranks that have succeeded. All but rank 0 are silent.
#[track_caller]
fn result(ended: &[Ended]) -> Value {
    let (main, others) = ended.split_first().unwrap();
    for Ended { ran: Ran { status, stdout, stderr }, .. } in others {
        assert_eq!((*status, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
    }
    main.ran.json()
}

/// The steps of the checkpoints in a run's folder.
fn checkpoints(run: &Path) -> Vec<u64> {
    let files = std::fs::read_dir(run).into_iter().flatten();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let step =
        |name: String| name.strip_prefix("checkpoint-")?.strip_suffix(".safetensors")?.parse().ok();
    let mut steps: Vec<u64> = names.filter_map(step).collect();
    steps.sort();
    steps
}
