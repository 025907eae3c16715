//! The runs on the stand-ins.

use std::ffi::OsString;
use std::path::Path;

/// A run's name and its arguments.
type Run = (&'static str, Vec<OsString>);

/// Runs of `qrnn-bench` that only have to complete, each in seconds.
pub fn benches() -> [Run; 3] {
    [
        ("pool", "pool --seq 20 --batch 4 --hidden 64 --runs 3"),
        (
            "step",
            "step --models 24-40-split --types 3000 --splits 200,1000 --batch-size 8 --bptt 20 \
             --steps 16",
        ),
        ("evaluate", "evaluate --types 3000 --tokens 2000 --runs 1 --model 24-40"),
    ]
    .map(|(name, arguments)| {
        (name, words(&format!("{arguments} --device cuda --python /none --json")))
    })
}

/// Such runs of `reproduce`.
pub fn small(folder: &Path) -> [Run; 2] {
    const TRAIN: &str = "train --device cuda --emsize 24 --nhid 40 --nlayers 2 --bptt 20 \
                         --batch-size 8 --splits 200,1000";
    [("train", "--steps 40"), ("resume", "--steps 80 --resume")].map(|(name, arguments)| {
        let mut arguments = words(&format!("{TRAIN} {arguments} --out"));
        arguments.push(folder.join("small").into());
        (name, arguments)
    })
}

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

/// The entry's run, whose steps are counted.
pub fn entry(folder: &Path, steps: u64) -> Vec<OsString> {
    let text = format!(
        "train --device cuda --precision bf16 --fixed-bptt --bptt 300 --batch-size 40 --steps {steps}"
    );
    let mut arguments = words(&text);
    arguments.extend(["--data".into(), folder.join("text").into_os_string()]);
    arguments.extend(["--out".into(), folder.join("entry").into_os_string()]);
    arguments
}
