//! The runs of the program on the stand-ins.

use std::ffi::OsString;
use std::path::Path;

/// The runs that only have to come to their ends, small enough for seconds each.
pub fn small(folder: &Path) -> Vec<(&'static str, Vec<OsString>)> {
    const BENCH: &str = "--device cuda --python /none --json";
    const TRAIN: &str = "train --device cuda --emsize 24 --nhid 40 --nlayers 2 --bptt 20 \
                         --batch-size 8 --splits 200,1000";
    let words = |words: String| words.split_whitespace().map(OsString::from).collect();
    let bench = |arguments: &str| -> Vec<OsString> { words(format!("bench {arguments} {BENCH}")) };
    let train = |arguments: &str| -> Vec<OsString> {
        let mut all: Vec<OsString> = words(format!("{TRAIN} {arguments} --out"));
        all.push(folder.join("small").into());
        all
    };
    let pool = bench("pool --seq 20 --batch 4 --hidden 64 --runs 3");
    let step = bench(
        "step --models 24-40-split --types 3000 --splits 200,1000 --batch-size 8 --bptt 20 --steps 16",
    );
    let evaluate = bench("evaluate --types 3000 --tokens 2000 --runs 1 --model 24-40");
    vec![
        ("pool", pool),
        ("step", step),
        ("evaluate", evaluate),
        ("train", train("--steps 40")),
        ("resume", train("--steps 80 --resume")),
    ]
}

/// The entry's run, long enough for the steps that are counted and one more.
pub fn entry(folder: &Path, steps: u64) -> Vec<OsString> {
    let words = format!(
        "train --device cuda --precision bf16 --fixed-bptt --bptt 300 --batch-size 40 --steps {steps}"
    );
    let mut arguments: Vec<OsString> = words.split(' ').map(OsString::from).collect();
    arguments.extend(["--data".into(), folder.join("text").into_os_string()]);
    arguments.extend(["--out".into(), folder.join("entry").into_os_string()]);
    arguments
}
