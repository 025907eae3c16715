//! A figure that the program prints is that of the model, the text and the settings that it names, or
//! the program says why not.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{Ran, reproduce};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// Lines of words in which each word tells the next: the same words in another order of the lines
/// have other ids.
fn lines(count: usize, mut word: usize) -> Vec<String> {
    let line = |_| {
        let mut line = vec![];
        for _ in 0..12 {
            line.push(format!("w{word}"));
            word = (word * 7 + 3) % 20;
        }
        word = (word + 1) % 20;
        line.join(" ")
    };
    (0..count).map(line).collect()
}

/// A data folder with these training lines.
fn data(folder: &Path, name: &str, train: &[String]) -> String {
    let data = folder.join(name);
    fs::create_dir_all(&data).unwrap();
    for (split, lines) in [("train", train), ("valid", &lines(20, 5)), ("test", &lines(20, 9))] {
        fs::write(data.join(format!("{split}.txt")), lines.join("\n") + "\n").unwrap();
    }
    data.to_str().unwrap().to_owned()
}

/// Two texts with the same words and other ids, and a model of the first.
struct Texts {
    folder: tempfile::TempDir,
    one: String,
    other: String,
    run: String,
}

const MODEL: &str = "--emsize 8 --nhid 12 --nlayers 2 --bptt 12 --batch-size 4 --splits none \
                     --lr 0.01 --fixed-bptt";

impl Texts {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut train = lines(120, 1);
        let one = data(folder.path(), "one", &train);
        train.reverse();
        let other = data(folder.path(), "other", &train);
        let run = folder.path().join("run").to_str().unwrap().to_owned();
        let texts = Self { folder, one, other, run };
        texts.train(&texts.one, &texts.run, "--epochs 1").succeeds();
        texts
    }

    fn train(&self, data: &str, out: &str, more: &str) -> Ran {
        let mut args = vec!["train", "--data", data, "--out", out];
        args.extend(MODEL.split_whitespace().chain(more.split_whitespace()));
        reproduce(&args)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn evaluate(&self, model: &str, more: &[&str]) -> Ran {
        reproduce(&[&["evaluate", "--checkpoint", model], more].concat())
    }
}

/// Tensors by name: shape and numbers.
type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;
type Change = fn(&mut Tensors);

/// The weights of a file, changed, in another file that says nothing beside its tensors.
fn rewritten(from: &str, to: &str, change: impl FnOnce(&mut Tensors)) -> String {
    let bytes = fs::read(from).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
    };
    let mut tensors: Tensors = file
        .iter()
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), numbers(view.data()))))
        .collect();
    change(&mut tensors);
    let bytes: HashMap<_, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, numbers))| {
            (name.clone(), numbers.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        let dtype = safetensors::Dtype::F32;
        (name.clone(), TensorView::new(dtype, shape.clone(), &bytes[name]).unwrap())
    });
    safetensors::serialize_to_file(views, None, Path::new(to)).unwrap();
    to.to_owned()
}

/// BUGS A1.
#[test]
fn a_model_meets_no_text_of_other_words_at_any_place() {
    let texts = Texts::new();
    let (one, other, run) = (texts.one.as_str(), texts.other.as_str(), texts.run.as_str());
    texts.evaluate(run, &["--data", one]).succeeds();
    let out = texts.path("out");
    let weights = format!("{run}/model.safetensors");
    for (case, ran) in [
        ("evaluate", texts.evaluate(run, &["--data", other])),
        ("a file alone", texts.evaluate(&weights, &["--data", other])),
        ("generate", reproduce(&["generate", "--checkpoint", run, "--data", other])),
        ("--init", texts.train(other, &out, &format!("--epochs 1 --init {run}"))),
        ("--finetune", texts.train(other, &out, &format!("--epochs 1 --finetune {weights}"))),
        ("--resume", texts.train(other, run, "--epochs 2 --resume")),
    ] {
        ran.is_refused(case);
        // The first word of the one text is w1; the other's is that of its last line.
        assert!(ran.stderr.contains("word 0 is"), "{case}: {}", ran.stderr);
        assert!(ran.stderr.contains("'w1'"), "{case}: {}", ran.stderr);
    }
    assert!(!Path::new(&out).exists());
}

/// BUGS A1: the same words in the same order, and another text.
#[test]
fn a_run_goes_on_with_no_other_text() {
    let texts = Texts::new();
    for split in ["train", "valid"] {
        let changed = texts.path("changed");
        data(Path::new(&texts.path("")), "changed", &lines(120, 1));
        let file = format!("{changed}/{split}.txt");
        let mut text = fs::read_to_string(&file).unwrap();
        text += "w1 w1 w1\n";
        fs::write(&file, text).unwrap();
        let ran = texts.train(&changed, &texts.run, "--epochs 2 --resume");
        ran.is_refused(split);
        assert!(ran.stderr.contains(&format!("the {split} text of changed")), "{}", ran.stderr);
    }
    texts.train(&texts.one, &texts.run, "--epochs 2 --resume").succeeds();
}

/// A model that carries its words needs no text to write, and reads any.
#[test]
fn a_model_with_its_words_needs_no_data() {
    let texts = Texts::new();
    let run = texts.run.as_str();
    let generate = |more: &[&str]| {
        let args = ["generate", "--checkpoint", run, "--words", "9", "--prompt", "w1", "--json"];
        reproduce(&[&args[..], more].concat()).json()
    };
    assert_eq!(generate(&[]), generate(&["--data", &texts.one]));

    // The test text by itself is what it is as a split.
    let test = format!("{}/test.txt", texts.one);
    let split = texts.evaluate(run, &["--data", &texts.one, "--json"]).json();
    let text = texts.evaluate(run, &["--text", &test, "--json"]).json();
    assert_eq!((&text["loss"], &text["unknown"]), (&split["loss"], &serde_json::json!(0)));
    // Its words in any other text's order are the model's.
    let text = texts.evaluate(run, &["--text", &format!("{}/test.txt", texts.other), "--json"]);
    assert_eq!(text.json()["loss"], split["loss"]);

    let unknown = texts.path("unknown.txt");
    fs::write(&unknown, "w1 ant w2 bee\n").unwrap();
    let ran = texts.evaluate(run, &["--text", &unknown]);
    ran.is_refused("unknown words and no <unk>");
    assert!(
        ran.stderr.contains("2 of its 5 words") && ran.stderr.contains("'ant'"),
        "{}",
        ran.stderr
    );

    let train: Vec<_> = lines(120, 1).into_iter().map(|line| line + " <unk>").collect();
    let with = data(texts.folder.path(), "with", &train);
    let run = texts.path("with-run");
    texts.train(&with, &run, "--epochs 1").succeeds();
    let found = texts.evaluate(&run, &["--text", &unknown, "--json"]).json();
    assert_eq!((found["unknown"].as_u64(), found["tokens"].as_u64()), (Some(2), Some(4)));
    let ran = texts.evaluate(&run, &["--text", &unknown]);
    assert!(ran.stdout.contains("2 of them are not in the model's vocabulary"), "{}", ran.stdout);
}

/// BUGS A2.
#[test]
fn no_tensor_is_dropped_that_says_something() {
    let texts = Texts::new();
    let weights = format!("{}/model.safetensors", texts.run);
    let with = |change: Change| {
        let file = rewritten(&weights, &texts.path("changed.safetensors"), change);
        texts.evaluate(&file, &["--data", &texts.one, "--splits", "none", "--json"])
    };
    let plain = with(|_| {});
    assert!(plain.stderr.contains("could not be compared"), "{}", plain.stderr);
    let loss = plain.json()["loss"].clone();
    let tied = with(|tensors| {
        let encoder = tensors["encoder.weight"].clone();
        tensors.insert("decoder.weight".into(), encoder);
    });
    assert_eq!(tied.json()["loss"], loss);
    let cases: [(&str, Change); 4] = [
        ("decoder.weight", |tensors| {
            let mut other = tensors["encoder.weight"].clone();
            other.1[3] += 1.0;
            tensors.insert("decoder.weight".into(), other);
        }),
        ("rnns.1.linear.module.weight_raw", |tensors| {
            let mut other = tensors["rnns.1.linear.weight"].clone();
            other.1[0] += 1.0;
            tensors.insert("rnns.1.linear.module.weight_raw".into(), other);
        }),
        ("rnns.7.linear.weight", |tensors| {
            let other = tensors["rnns.1.linear.weight"].clone();
            tensors.insert("rnns.7.linear.weight".into(), other);
        }),
        ("something.else", |tensors| {
            tensors.insert("something.else".into(), (vec![1], vec![1.0]));
        }),
    ];
    for (name, change) in cases {
        let ran = with(change);
        ran.is_refused(name);
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
}

/// BUGS A3.
#[test]
fn clusters_that_contradict_the_file_are_refused_with_both() {
    let texts = Texts::new();
    let run = texts.path("split");
    texts.train(&texts.one, &run, "--steps 3 --splits 5,10").succeeds();
    let alone = texts.path("alone.safetensors");
    fs::copy(format!("{run}/model.safetensors"), &alone).unwrap();
    let newest = format!("{run}/checkpoint-3.safetensors");
    for model in [&run, &alone, &newest] {
        let loss = |more: &[&str]| {
            texts.evaluate(model, &[&["--data", &texts.one, "--json"], more].concat())
        };
        assert_eq!(loss(&[]).json()["loss"], loss(&["--splits", "5,10"]).json()["loss"]);
        for other in ["6,11", "5", "none", "auto"] {
            let ran = loss(&["--splits", other]);
            ran.is_refused(other);
            let both = [if other == "auto" { "none" } else { other }, "5,10"];
            assert!(both.iter().all(|splits| ran.stderr.contains(splits)), "{}", ran.stderr);
        }
    }
    let ran = texts.train(&texts.one, &texts.path("o"), &format!("--init {alone} --splits 6,11"));
    ran.is_refused("--init");
}

/// BUGS A5.
#[test]
fn what_is_no_number_is_an_error_that_names_the_tensor() {
    let texts = Texts::new();
    let weights = format!("{}/model.safetensors", texts.run);
    let out = texts.path("out");
    // An infinity may come to a finite perplexity, as it saturates a gate.
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let file = rewritten(&weights, &texts.path("wrong.safetensors"), |tensors| {
            tensors.get_mut("rnns.1.linear.bias").unwrap().1[2] = number;
        });
        for (case, ran) in [
            ("evaluate", texts.evaluate(&file, &["--data", &texts.one, "--splits", "none"])),
            ("generate", reproduce(&["generate", "--checkpoint", &file, "--data", &texts.one])),
            ("train", texts.train(&texts.one, &out, &format!("--epochs 1 --init {file}"))),
        ] {
            assert_eq!(ran.status, Some(1), "{case} {number}: {}{}", ran.stdout, ran.stderr);
            let says = ran.stderr.contains("rnns.1.linear.bias holds 1 non-finite value");
            assert!(says && ran.stderr.contains("what to do:"), "{case}: {}", ran.stderr);
        }
    }
}

/// BUGS A6: what is no text is named; a pipe is not waited for.
#[test]
fn a_pipe_is_no_text() {
    let texts = Texts::new();
    let train = PathBuf::from(&texts.one).join("train.txt");
    fs::remove_file(&train).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &train, rustix::fs::Mode::RWXU).unwrap();
    let ran = reproduce(&["data", "stats", "--data", &texts.one]);
    ran.is_refused("a pipe");
    assert!(ran.stderr.contains("is a named pipe"), "{}", ran.stderr);
}
