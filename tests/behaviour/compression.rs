//! `reproduce compress`, and what the other commands make of its file.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, reproduce};

struct Compressed {
    data: tempfile::TempDir,
    folder: tempfile::TempDir,
}

impl Compressed {
    fn new() -> Self {
        Self { data: text_folder(&small_text()), folder: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> &str {
        self.data.path().to_str().unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Trains a dense model.
    fn train(&self) -> String {
        let out = self.path("dense");
        let flags = "train --emsize 12 --nhid 24 --nlayers 2 --splits 3,6 --bptt 12 --batch-size 4 --epochs 1";
        let args: Vec<&str> = flags.split_whitespace().collect();
        reproduce(&[&args[..], &["--data", self.data(), "--out", &out]].concat()).succeeds();
        out
    }

    fn compress(&self, out: &str, flags: &str) -> Ran {
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let args = ["compress", "--data", self.data(), "--out", out, "--json"];
        reproduce(&[&args[..], &flags].concat())
    }

    fn evaluate(&self, checkpoint: &str, flags: &str) -> Value {
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let args = ["evaluate", "--checkpoint", checkpoint, "--data", self.data(), "--json"];
        reproduce(&[&args[..], &flags].concat()).json()
    }
}

fn number(json: &Value, path: &str) -> f64 {
    json.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {json}"))
}

fn assert_near(a: f64, b: f64) {
    assert!((a / b - 1.0).abs() < 1e-4, "{a} and {b}");
}

#[test]
fn one_shot_writes_a_file_that_every_command_takes() {
    let small = Compressed::new();
    let (dense, out) = (small.train(), small.path("small"));
    let flags = format!(
        "--checkpoint {dense} --one-shot --zeros rnns=0.6,encoder=0.35 --bits rnns=4,8 --activation-bits 8 --cache 20"
    );
    let results = small.compress(&out, &flags).json();
    let names: Vec<&str> = results["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dense", "pruned", "quantized", "cached"]);
    assert!(number(&results, "/stages/2/score") < number(&results, "/stages/1/score"));

    // The file is as large as what is counted, its header and less than a byte per entry.
    let bytes = fs::read(format!("{out}/model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let (file, counted) = (number(&results, "/file_bytes"), number(&results, "/counted_bits"));
    assert_eq!(file, bytes.len() as f64);
    let rest = file * 8.0 - header as f64 * 8.0 - counted;
    assert!((0.0..8.0 * 30.0).contains(&rest), "{rest} bits neither counted nor header");
    assert!(header < 16 << 10);

    // What was measured is what the file gives, with and without its cache.
    for checkpoint in [out.clone(), format!("{out}/model.safetensors")] {
        let cached = small.evaluate(&checkpoint, "");
        assert_near(number(&cached, "/ppl"), number(&results, "/stages/3/test_ppl"));
        assert_near(number(&cached, "/plain_ppl"), number(&results, "/stages/2/test_ppl"));
        assert_eq!(cached["cache"]["size"], 20);
    }
    let plain = small.evaluate(&out, "--cache none");
    assert_near(number(&plain, "/ppl"), number(&results, "/stages/2/test_ppl"));
    let other = small.evaluate(&out, "--cache 5");
    assert_eq!((&other["cache"]["size"], &other["cache"]["searched"]), (&5.into(), &true.into()));
    let generated = reproduce(&["generate", "--checkpoint", &out, "--words", "7", "--json"]).json();
    assert!(!generated["text"].as_str().unwrap().is_empty());

    let count = |flags: &[&str]| {
        reproduce(&[&["count", "--checkpoint", &out, "--json"], flags].concat()).json()
    };
    let counted = count(&[]);
    assert_eq!(counted["score"], results["stages"][3]["score"]);
    assert_eq!(number(&counted, "/parameters_32") * 32.0, number(&results, "/counted_bits"));
    assert!(number(&count(&["--proved-accumulators"]), "/score") < number(&counted, "/score"));
    let dense_count = reproduce(&["count", "--checkpoint", &dense, "--strict", "--json"]).json();
    assert_eq!(dense_count["score"], results["stages"][0]["score"]);
}

#[test]
fn a_preset_trains_its_dense_model_first_and_both_resume() {
    let small = Compressed::new();
    let out = small.path("small");
    let sizes =
        "--emsize 8 --nhid 12 --nlayers 2 --splits 3,6 --widths 8,4,2 --bptt 12 --batch-size 4";
    let flags =
        format!("--preset micronet {sizes} --dense-epochs 2 --epochs 2 --lr 1e-3 --prune-every 3");
    let results = small.compress(&out, &flags).json();
    let names: Vec<&Value> =
        results["stages"].as_array().unwrap().iter().map(|stage| &stage["name"]).collect();
    assert_eq!(names, ["adaptive", "pruned", "quantized", "cached"]);
    assert_eq!(results["cache"]["size"], 2000);
    for tensor in results["tensors"].as_array().unwrap() {
        let name = tensor["name"].as_str().unwrap();
        let elements: f64 =
            tensor["shape"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).product();
        let most = match name {
            "encoder.0.weight" => 0.8,
            "encoder.1.weight" | "encoder.2.weight" => 0.6,
            name if name.starts_with("rnns") && name.ends_with("weight") => 0.4,
            _ => continue,
        };
        let nonzeros = number(tensor, "/nonzeros");
        assert!(nonzeros <= (elements * most).ceil(), "{tensor}");
        assert!(nonzeros > elements * most * 0.6, "{tensor}");
        assert_eq!(tensor["bits"], 8);
    }
    // Again: both runs are finished, and nothing is trained.
    let again = small.compress(&out, &format!("{flags} --resume")).json();
    assert_eq!(again["tensors"], results["tensors"]);
    for number in ["test_ppl", "score"] {
        assert_eq!(again["stages"][2][number], results["stages"][2][number]);
    }
    let other = small.compress(&out, &format!("{flags} --resume --zeros rnns.0=0.3"));
    other.is_refused("another plan");
    assert!(other.stderr.contains("--resume"), "{}", other.stderr);
    assert!(Path::new(&out).join("model.safetensors").exists());
}

#[test]
fn plans_and_files_that_do_not_fit_are_refused() {
    let small = Compressed::new();
    let (dense, out) = (small.train(), small.path("small"));
    for (flags, message) in [
        ("--one-shot --zeros decoder=0.5", "--zeros decoder: names no tensor"),
        ("--one-shot --zeros rnns=1", "--zeros rnns=1: is not a fraction"),
        ("--one-shot --zeros rnns=-0.1", "--zeros rnns=-0.1"),
        ("--one-shot --zeros rnns", "--zeros rnns: is not a name and a number"),
        ("--one-shot --bits 9", "--bits 9: must be from 2 to 8"),
        ("--one-shot --bits rnns=1", "--bits rnns=1"),
        ("--one-shot --bits words=4", "--bits words: names no tensor"),
        ("--one-shot --activation-bits 1", "--activation-bits 1"),
        ("--one-shot --sensitivity 2", "--sensitivity 2"),
        ("--one-shot --cache 1000000", "--cache 1000000"),
        ("--one-shot --epochs 2", "'--one-shot'"),
        ("--one-shot --nhid 20", "--checkpoint"),
        ("--prune-until 1", "--prune-until 1"),
        ("--preset heavy", "micronet or light"),
        ("--epochs 0", "--epochs"),
    ] {
        let ran = small.compress(&out, &format!("--checkpoint {dense} {flags}"));
        ran.is_refused(flags);
        assert!(ran.stderr.contains(message), "{flags}: {}", ran.stderr);
    }
    assert!(!Path::new(&out).exists());
    small.compress(&out, "").is_refused("no checkpoint and no preset");

    small.compress(&out, &format!("--checkpoint {dense} --one-shot")).json();
    let before = fs::read(format!("{out}/model.safetensors")).unwrap();
    small.compress(&out, &format!("--checkpoint {dense} --one-shot")).is_refused("a folder in use");
    small
        .compress(&small.path("twice"), &format!("--checkpoint {out} --one-shot"))
        .is_refused("a compressed model");
    let x = small.path("x");
    let train = ["train", "--data", small.data(), "--out", &x, "--init", &out, "--emsize", "12"];
    let ran = reproduce(&train);
    ran.is_refused("--init of a compressed model");
    assert!(ran.stderr.contains("is a compressed model"), "{}", ran.stderr);
    for flag in ["--param-bits", "--activation-bits"] {
        reproduce(&["count", "--checkpoint", &out, flag, "8"]).is_refused(flag);
    }
    reproduce(&["count", "--checkpoint", &dense, "--proved-accumulators"])
        .is_refused("no integers");
    let same = small.compress(&dense, &format!("--checkpoint {dense} --one-shot --overwrite"));
    same.is_refused("the folder of the dense model");
    assert!(same.stderr.contains("--out"), "{}", same.stderr);
    // A cache beyond any model, or a name of no tensor, is refused before a dense model is trained.
    let preset = "--preset micronet --emsize 8 --nhid 8 --nlayers 1 --splits 9,20 --widths 8,4,2";
    for flags in ["--cache 1000000", "--zeros words=0.5"] {
        let ran = small.compress(&small.path("preset"), &format!("{preset} {flags}"));
        ran.is_refused(flags);
        assert!(!Path::new(&small.path("preset")).exists(), "{}", ran.stderr);
    }
    assert!(fs::read(format!("{out}/model.safetensors")).unwrap() == before);
}

#[test]
fn a_spoiled_file_is_refused_by_the_name_of_its_tensor() {
    let small = Compressed::new();
    let (dense, out) = (small.train(), small.path("small"));
    let flags = format!("--checkpoint {dense} --one-shot --zeros rnns=0.6 --activation-bits 8");
    small.compress(&out, &flags).json();
    let path = format!("{out}/model.safetensors");
    let whole = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    for name in ["rnns.1.linear.weight.mask", "encoder.weight.codes", "activations.scale"] {
        let at = 8 + length + number(&header[name], "/data_offsets/0") as usize;
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        for command in ["evaluate", "generate", "count"] {
            let ran = reproduce(&[command, "--checkpoint", &out]);
            ran.is_refused(command);
            assert!(ran.stderr.contains(&format!("tensor {name} is damaged")), "{}", ran.stderr);
        }
    }
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    reproduce(&["evaluate", "--checkpoint", &out, "--data", small.data()]).is_refused("a cut file");
    fs::write(&path, &whole).unwrap();
    let words = format!("{out}/vocabulary.txt");
    let text = fs::read_to_string(&words).unwrap();
    fs::write(&words, text.replacen('\n', "x\n", 1)).unwrap();
    let ran = reproduce(&["generate", "--checkpoint", &out]);
    ran.is_refused("words of another model");
    assert!(ran.stderr.contains("vocabulary.txt"), "{}", ran.stderr);
    // Without its words, the file still knows their checksum.
    fs::remove_file(&words).unwrap();
    small.evaluate(&out, "");
    let other = small.path("other");
    fs::create_dir(&other).unwrap();
    for split in ["train", "valid", "test"] {
        fs::write(format!("{other}/{split}.txt"), "some other words\n".repeat(99)).unwrap();
    }
    let ran = reproduce(&["evaluate", "--checkpoint", &out, "--data", &other]);
    ran.is_refused("a corpus of other words");
    assert!(ran.stderr.contains("does not have the words"), "{}", ran.stderr);
}

/// Counted from files of full shape, not trained.
#[test]
fn presets_of_full_shape_give_their_scores() {
    let folder = tempfile::tempdir().unwrap();
    for (preset, score) in [("micronet", "0.0790"), ("light", "0.0523")] {
        let out = folder.path().join(preset).to_str().unwrap().to_owned();
        reproduce(&["compress", "--preset", preset, "--random", "--out", &out]).succeeds();
        let counted = reproduce(&["count", "--checkpoint", &out, "--json"]).json();
        assert_eq!(format!("{:.4}", number(&counted, "/score")), score);
        let declared = reproduce(&["count", "--preset", preset, "--json"]).json();
        assert_near(number(&counted, "/operations"), number(&declared, "/operations"));
        assert_eq!(counted["parameters_32"], declared["parameters_32"]);
        let bytes = fs::metadata(format!("{out}/model.safetensors")).unwrap().len() as f64;
        assert!((bytes / 4.0 / number(&counted, "/parameters_32") - 1.0).abs() < 1e-3);
        assert!(
            reproduce(&["compress", "--preset", preset, "--random", "--out", &out]).status
                == Some(2)
        );
    }
}
