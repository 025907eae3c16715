//! Results belong to the named model, corpus and settings; mismatches are errors.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{Ran, reproduce};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

/// Lines in which each word determines the next. Reordering the lines gives the words other ids.
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

/// Writes a data folder with these training lines.
fn data(folder: &Path, name: &str, train: &[String]) -> String {
    let data = folder.join(name);
    fs::create_dir_all(&data).unwrap();
    for (split, lines) in [("train", train), ("valid", &lines(20, 5)), ("test", &lines(20, 9))] {
        fs::write(data.join(format!("{split}.txt")), lines.join("\n") + "\n").unwrap();
    }
    data.to_str().unwrap().to_owned()
}

/// Two corpora with the same words but different ids, and a model trained on the first.
struct Corpora {
    folder: tempfile::TempDir,
    one: String,
    other: String,
    run: String,
}

const MODEL: &str = "--emsize 8 --nhid 12 --nlayers 2 --bptt 12 --batch-size 4 --splits none \
                     --lr 0.01 --fixed-bptt";

impl Corpora {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut train = lines(120, 1);
        let one = data(folder.path(), "one", &train);
        train.reverse();
        let other = data(folder.path(), "other", &train);
        let run = folder.path().join("run").to_str().unwrap().to_owned();
        let corpora = Self { folder, one, other, run };
        corpora.train(&corpora.one, &corpora.run, "--epochs 1").succeeds();
        corpora
    }

    fn train(&self, data: &str, out: &str, flags: &str) -> Ran {
        let mut args = vec!["train", "--data", data, "--out", out];
        args.extend(MODEL.split_whitespace().chain(flags.split_whitespace()));
        reproduce(&args)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn evaluate(&self, model: &str, flags: &[&str]) -> Ran {
        reproduce(&[&["evaluate", "--checkpoint", model], flags].concat())
    }
}

/// Shape and values of tensors by name.
type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;
type Change = fn(&mut Tensors);

/// Writes the changed weights of a file to another file without metadata.
fn rewrite(from: &str, to: &str, change: impl FnOnce(&mut Tensors)) -> String {
    let bytes = fs::read(from).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let mut tensors: Tensors = file
        .iter()
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), floats(view.data()))))
        .collect();
    change(&mut tensors);
    let bytes: HashMap<_, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| {
            (name.clone(), values.iter().flat_map(|x| x.to_le_bytes()).collect())
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
fn every_command_refuses_a_corpus_with_another_vocabulary() {
    let corpora = Corpora::new();
    let (one, other, run) = (corpora.one.as_str(), corpora.other.as_str(), corpora.run.as_str());
    corpora.evaluate(run, &["--data", one]).succeeds();
    let out = corpora.path("out");
    let weights = format!("{run}/model.safetensors");
    for (case, ran) in [
        ("evaluate", corpora.evaluate(run, &["--data", other])),
        ("a file alone", corpora.evaluate(&weights, &["--data", other])),
        ("generate", reproduce(&["generate", "--checkpoint", run, "--data", other])),
        ("--init", corpora.train(other, &out, &format!("--epochs 1 --init {run}"))),
        ("--finetune", corpora.train(other, &out, &format!("--epochs 1 --finetune {weights}"))),
        ("--resume", corpora.train(other, run, "--epochs 2 --resume")),
    ] {
        ran.is_refused(case);
        // Word 0 of the first corpus is w1; the second corpus starts with the last line of the first.
        assert!(ran.stderr.contains("word 0 is"), "{case}: {}", ran.stderr);
        assert!(ran.stderr.contains("'w1'"), "{case}: {}", ran.stderr);
    }
    assert!(!Path::new(&out).exists());
}

#[test]
fn initial_weights_of_other_sizes_are_refused_before_the_corpus_is_read() {
    let corpora = Corpora::new();
    let (data, out, run) = (corpora.path("no-such-folder"), corpora.path("out"), &corpora.run);
    for (flag, refused) in [
        ("--emsize 9", "a model of --emsize 8, but this call has 9"),
        ("--nhid 13", "a model of --nhid 12, but this call has 13"),
        ("--nlayers 3", "a model of --nlayers 2, but this call has 3"),
    ] {
        for init in ["--init", "--finetune"] {
            // The second --emsize overrides the first.
            let ran = corpora.train(&data, &out, &format!("{init} {run} {flag}"));
            ran.is_refused(flag);
            assert!(ran.stderr.contains(refused), "{}", ran.stderr);
        }
    }
    let ran = corpora.train(&data, &out, "--init no-such-model");
    assert!(ran.stderr.contains("no-such-model"), "{}", ran.stderr);
}

/// BUGS A1: the same vocabulary but another text.
#[test]
fn a_run_does_not_resume_with_another_text() {
    let corpora = Corpora::new();
    for split in ["train", "valid"] {
        let changed = corpora.path("changed");
        data(Path::new(&corpora.path("")), "changed", &lines(120, 1));
        let file = format!("{changed}/{split}.txt");
        let mut text = fs::read_to_string(&file).unwrap();
        text += "w1 w1 w1\n";
        fs::write(&file, text).unwrap();
        let ran = corpora.train(&changed, &corpora.run, "--epochs 2 --resume");
        ran.is_refused(split);
        assert!(ran.stderr.contains(&format!("the {split} split of changed")), "{}", ran.stderr);
    }
    corpora.train(&corpora.one, &corpora.run, "--epochs 2 --resume").succeeds();
}

/// A model file with a vocabulary generates text and evaluates any text file without its corpus.
#[test]
fn a_model_with_a_vocabulary_needs_no_data() {
    let corpora = Corpora::new();
    let run = corpora.run.as_str();
    let generate = |flags: &[&str]| {
        let args = ["generate", "--checkpoint", run, "--words", "9", "--prompt", "w1", "--json"];
        reproduce(&[&args[..], flags].concat()).json()
    };
    assert_eq!(generate(&[]), generate(&["--data", &corpora.one]));

    // The test file gives the same result as the test split.
    let test = format!("{}/test.txt", corpora.one);
    let split = corpora.evaluate(run, &["--data", &corpora.one, "--json"]).json();
    let text = corpora.evaluate(run, &["--text", &test, "--json"]).json();
    assert_eq!((&text["loss"], &text["unknown"]), (&split["loss"], &serde_json::json!(0)));
    // A text file is encoded with the model's vocabulary, whatever the order of its words.
    let text = corpora.evaluate(run, &["--text", &format!("{}/test.txt", corpora.other), "--json"]);
    assert_eq!(text.json()["loss"], split["loss"]);

    let unknown = corpora.path("unknown.txt");
    fs::write(&unknown, "w1 ant w2 bee\n").unwrap();
    let ran = corpora.evaluate(run, &["--text", &unknown]);
    ran.is_refused("unknown words and no <unk>");
    assert!(
        ran.stderr.contains("2 of its 5 tokens") && ran.stderr.contains("'ant'"),
        "{}",
        ran.stderr
    );

    let train: Vec<_> = lines(120, 1).into_iter().map(|line| line + " <unk>").collect();
    let with = data(corpora.folder.path(), "with", &train);
    let run = corpora.path("with-run");
    corpora.train(&with, &run, "--epochs 1").succeeds();
    let evaluated = corpora.evaluate(&run, &["--text", &unknown, "--json"]).json();
    assert_eq!((evaluated["unknown"].as_u64(), evaluated["tokens"].as_u64()), (Some(2), Some(4)));
    let ran = corpora.evaluate(&run, &["--text", &unknown]);
    assert!(ran.stdout.contains("2 of them are not in the model's vocabulary"), "{}", ran.stdout);
}

/// BUGS A2.
#[test]
fn tensors_that_the_model_does_not_use_are_refused() {
    let corpora = Corpora::new();
    let weights = format!("{}/model.safetensors", corpora.run);
    let with = |change: Change| {
        let file = rewrite(&weights, &corpora.path("changed.safetensors"), change);
        corpora.evaluate(&file, &["--data", &corpora.one, "--splits", "none", "--json"])
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
fn splits_that_contradict_the_file_are_refused_naming_both() {
    let corpora = Corpora::new();
    let run = corpora.path("split");
    corpora.train(&corpora.one, &run, "--steps 3 --splits 5,10").succeeds();
    let copy = corpora.path("copy.safetensors");
    fs::copy(format!("{run}/model.safetensors"), &copy).unwrap();
    let newest = format!("{run}/checkpoint-3.safetensors");
    for model in [&run, &copy, &newest] {
        let evaluate = |flags: &[&str]| {
            corpora.evaluate(model, &[&["--data", &corpora.one, "--json"], flags].concat())
        };
        assert_eq!(evaluate(&[]).json()["loss"], evaluate(&["--splits", "5,10"]).json()["loss"]);
        for other in ["6,11", "5", "none", "auto"] {
            let ran = evaluate(&["--splits", other]);
            ran.is_refused(other);
            let both = [if other == "auto" { "none" } else { other }, "5,10"];
            assert!(both.iter().all(|splits| ran.stderr.contains(splits)), "{}", ran.stderr);
        }
    }
    let ran =
        corpora.train(&corpora.one, &corpora.path("o"), &format!("--init {copy} --splits 6,11"));
    ran.is_refused("--init");
}

/// BUGS A5.
#[test]
fn weights_that_are_not_finite_are_an_error_that_names_the_tensor() {
    let corpora = Corpora::new();
    let weights = format!("{}/model.safetensors", corpora.run);
    let out = corpora.path("out");
    // An infinite bias saturates a gate and may give a finite perplexity.
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let file = rewrite(&weights, &corpora.path("non_finite.safetensors"), |tensors| {
            tensors.get_mut("rnns.1.linear.bias").unwrap().1[2] = number;
        });
        for (case, ran) in [
            ("evaluate", corpora.evaluate(&file, &["--data", &corpora.one, "--splits", "none"])),
            ("generate", reproduce(&["generate", "--checkpoint", &file, "--data", &corpora.one])),
            ("train", corpora.train(&corpora.one, &out, &format!("--epochs 1 --init {file}"))),
        ] {
            assert_eq!(ran.status, Some(1), "{case} {number}: {}{}", ran.stdout, ran.stderr);
            let names_tensor = ran.stderr.contains("rnns.1.linear.bias holds 1 non-finite value");
            assert!(names_tensor && ran.stderr.contains("what to do:"), "{case}: {}", ran.stderr);
        }
    }
}

/// BUGS A6.
#[test]
fn a_named_pipe_is_refused_without_waiting() {
    let corpora = Corpora::new();
    let train = PathBuf::from(&corpora.one).join("train.txt");
    fs::remove_file(&train).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &train, rustix::fs::Mode::RWXU).unwrap();
    let ran = reproduce(&["data", "stats", "--data", &corpora.one]);
    ran.is_refused("a pipe");
    assert!(ran.stderr.contains("is a named pipe"), "{}", ran.stderr);
}
