//! The memory of training steps at full size.

use std::fmt::Write as _;

use crate::program::bench;

/// The entry's model with split softmax, batch size 10 and 70 tokens: at most 4 GB.
#[test]
fn a_step_of_the_entry_fits_into_four_gigabytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut words = String::new();
    for id in 1..267_735 {
        write!(words, "w{id}{}", if id % 50 == 0 { "\n" } else { " " }).unwrap();
    }
    let short = "w1 w2\n".repeat(20);
    for (name, text) in
        [("train", words.as_str()), ("valid", short.as_str()), ("test", short.as_str())]
    {
        std::fs::write(folder.path().join(format!("{name}.txt")), text).unwrap();
    }
    let data = folder.path().to_str().unwrap();
    let mut args = vec!["step-memory", "--json", "--steps", "1", "--data", data];
    args.extend(["--models", "300-1800-split", "--splits", "2800,20000,76000"]);
    args.extend(["--batch-size", "10", "--bptt", "70", "--formats", "fp32"]);
    let peak = bench(&args).json()["peak_bytes"].as_f64().unwrap();
    println!("peak memory {:.2} GB", peak / 1e9);
    // Weights, gradients and two moments are 1.7 GB.
    assert!((1.7e9..4e9).contains(&peak), "{peak}");
}
