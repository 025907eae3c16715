//! Benchmarks that cannot run.

use crate::program::{Ran, command};

#[test]
fn a_benchmark_without_its_device_says_what_is_missing() {
    for bench in ["pool", "step", "evaluate", "curves"] {
        let mut command = command(&[bench, "--device", "cuda"]);
        let ran = Ran::from(command.env("QRNN_CUDA", "off").output().unwrap());
        assert_eq!(ran.status, Some(2), "{bench}: {}", ran.stderr);
        assert!(ran.stderr.contains("--device cuda is not available: it is switched off"));
    }
    let ran = Ran::from(command(&["step", "--formats", "tf32"]).output().unwrap());
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("--formats tf32"), "{}", ran.stderr);
}

#[test]
fn a_text_that_could_not_hold_every_word_is_refused() {
    let ran = Ran::from(command(&["corpus", "--bytes", "1000"]).output().unwrap());
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("--bytes"), "{}", ran.stderr);
    assert!(ran.stderr.contains("give an integer from 2500000"), "{}", ran.stderr);
}
