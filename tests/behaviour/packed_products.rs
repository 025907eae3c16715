//! Compressed models compute with the integers that they store, unless a flag asks for fp32.

use crate::program::reproduce;

#[test]
fn a_compressed_model_is_evaluated_the_same_by_integers_and_in_fp32() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (dense, small) = (path("dense"), path("small"));
    let train = "train --emsize 8 --nhid 12 --nlayers 2 --bptt 12 --batch-size 20 --epochs 1 --steps 30 --out";
    let train: Vec<&str> = train.split_whitespace().chain([&*dense]).collect();
    reproduce(&train).succeeds();
    let plan = "compress --one-shot --zeros rnns=0.5 --activation-bits 8 --checkpoint";
    let plan: Vec<&str> = plan.split_whitespace().chain([&*dense, "--out", &small]).collect();
    reproduce(&plan).succeeds();

    let evaluate = |flags: &[&str]| {
        reproduce(
            &[&["evaluate", "--checkpoint", &small, "--device", "cpu", "--json"], flags].concat(),
        )
    };
    let loss = |flags: &[&str]| evaluate(flags).json()["loss"].as_f64().unwrap();
    let integers = loss(&[]);
    for flags in [&["--precision", "fp32"][..], &["--plain"]] {
        let reference = loss(flags);
        assert!((integers - reference).abs() < 1e-5 * reference, "{integers} {reference}");
    }
    let generate = |flags: &[&str]| {
        let args =
            ["generate", "--checkpoint", &small, "--device", "cpu", "--words", "30", "--json"];
        reproduce(&[&args[..], flags].concat()).json()["text"].clone()
    };
    assert_eq!(generate(&[]), generate(&["--precision", "fp32"]));

    let refused = evaluate(&["--precision", "bf16"]);
    assert_ne!(refused.status, Some(0));
    assert!(
        refused.stderr.contains("a second time") || refused.stderr.contains("avx512_bf16"),
        "{}",
        refused.stderr
    );
}
