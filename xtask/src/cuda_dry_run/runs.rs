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
pub fn small(folder: &Path) -> Vec<Run> {
    const TRAIN: &str = "train --device cuda --emsize 24 --nhid 40 --nlayers 2 --bptt 20 \
                         --batch-size 8 --splits 200,1000";
    // Masks are updated at every step, by each way of rounding: in the optimizer, and on a shadow of the model.
    const COMPRESS: &str = "compress --device cuda --zeros rnns=0.6,encoder=0.35 --bptt 20 \
                            --batch-size 8 --steps 20 --prune-every 1 --overwrite";
    let small = || folder.join("small").into_os_string();
    let train = [("train", "--steps 40"), ("resume", "--steps 80 --resume")];
    let train = train.map(|(name, arguments)| {
        let mut arguments = words(&format!("{TRAIN} {arguments} --out"));
        arguments.push(small());
        (name, arguments)
    });
    let compress = [
        ("compress", "--bits 8,rnns=4 --activation-bits 8"),
        ("book", "--bits 4 --book --block 8 --activation-bits 6"),
    ];
    let compress = compress.map(|(name, arguments)| {
        let mut arguments = words(&format!("{COMPRESS} {arguments} --checkpoint"));
        let out = folder.join("small-compressed").into_os_string();
        arguments.extend([small(), "--out".into(), out]);
        (name, arguments)
    });
    train.into_iter().chain(compress).collect()
}

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

/// A training run whose steps are counted, and a run that compresses its model, whose steps are compared.
pub struct Compared {
    /// Also the names of their folders.
    pub names: [&'static str; 2],
    pub train: Vec<OsString>,
    pub compress: Vec<OsString>,
}

/// The entry, and an adaptive model of its layers.
pub fn compared(folder: &Path, steps: u64) -> [Compared; 2] {
    let common =
        format!("--device cuda --precision bf16 --bptt 300 --batch-size 40 --steps {steps}");
    let plan = "--zeros rnns=0.6,encoder=0.35 --bits 8 --activation-bits 8 --overwrite";
    [
        (["entry", "entry-compressed"], ""),
        (
            ["adaptive", "adaptive-compressed"],
            "--ids frequency --splits 3500,25000 --widths 300,75,5",
        ),
    ]
    .map(|(names, model)| {
        let files = |data, out| {
            let paths = [("--data", data), ("--out", out)];
            paths.into_iter().flat_map(|(flag, name)| [flag.into(), folder.join(name).into()])
        };
        let mut train = words(&format!("train {common} --fixed-bptt {model}"));
        train.extend(files("text", names[0]));
        let mut compress = words(&format!("compress {common} {plan} --checkpoint"));
        compress.push(folder.join(names[0]).into());
        compress.extend(files("text", names[1]));
        Compared { names, train, compress }
    })
}

/// The folders that runs write.
pub const FOLDERS: [&str; 7] = [
    "text",
    "small",
    "small-compressed",
    "entry",
    "entry-compressed",
    "adaptive",
    "adaptive-compressed",
];
