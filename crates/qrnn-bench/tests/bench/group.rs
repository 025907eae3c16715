//! `qrnn-bench group`: small sums and steps, by two processes.

use crate::measurements::{all, number};
use crate::program::{Ran, bench, command};

const SMALL: [&str; 8] =
    ["--megabytes", "1", "--summed-model", "8-12", "--model", "8-12", "--types", "90"];

const SHORT: [&str; 12] = [
    "--runs",
    "2",
    "--pairs",
    "2",
    "--steps",
    "3",
    "--batch-size",
    "4",
    "--bptt",
    "9",
    "--others",
    "1",
];

#[test]
fn sums_and_steps_of_two_processes_are_compared() {
    let mut value = bench(&[&["group", "--json"], &SMALL[..], &SHORT].concat()).json();
    let measured: Vec<_> = serde_json::from_value(value["measurements"].take()).unwrap();
    let sums = all(&measured, "all-reduce");
    // Two ways to use the network, for one size, a model and three numbers; memory for the model, which is large.
    assert_eq!(sums.len(), 7);
    assert_eq!((number(sums[0], "bytes"), number(sums[0], "ratio")), (1e6, 1.0));
    assert_eq!(sums[2]["of"], "all tensors of 8-12");
    assert!(number(sums[2], "tensors") > 10.0 && number(sums[2], "bytes") > 8e6);
    assert_eq!(sums[4]["variant"], "memory of the processes");
    assert_eq!(number(sums[5], "bytes"), 24.0);
    for sum in sums {
        let speed = number(sum, "bytes") / number(sum, "seconds");
        assert!((number(sum, "bytes_per_second") / speed - 1.0).abs() < 1e-9, "{sum}");
    }
    let training = all(&measured, "training")[0];
    assert!(number(training, "ratio") > 0.0, "{training}");
    assert!(number(training, "largest_loss_difference") < 1e-5, "{training}");
    // One process, and two ranks.
    let stages = all(&measured, "stages of a training step");
    assert_eq!(stages.len(), 3);
    // Gradients with the loss, and what the ranks agree on.
    let of_step = all(&measured, "sums of a training step")[0];
    assert_eq!(number(of_step, "operations"), 2.0);
    assert!(number(of_step, "seconds") > 0.0, "{of_step}");
}

#[test]
fn an_error_of_a_process_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let args = ["group", "--parts", "training", "--others", "1", "--data", data];
    let ran = Ran::from(command(&args).output().unwrap());
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("process 0: error: ") && ran.stderr.contains(data),
        "{}",
        ran.stderr
    );
}
