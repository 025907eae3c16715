//! Adaptive models and token ids by frequency: what the commands state, remember and refuse.

use std::fs;
use std::path::Path;

use crate::program::{Ran, reproduce};

const MODEL: &str =
    "--emsize 8 --nhid 12 --nlayers 2 --bptt 12 --batch-size 4 --lr 0.01 --fixed-bptt";

const ADAPTIVE: &str = "--ids frequency --splits 5,12 --widths 8,4,2";

/// A text of 17 words, the first of which are not the most frequent: the two orders of ids differ.
fn data(folder: &Path) -> String {
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let line = |i: usize| {
        let word = |j: usize| {
            let rarity = (i * 31 + j * 17 + i * j) % 21;
            format!("w{}", 20 - rarity * rarity / 21)
        };
        let words = (0..9).map(word);
        format!(" {} \n", words.collect::<Vec<_>>().join(" "))
    };
    for (split, lines) in [("train", 0..150), ("valid", 200..230), ("test", 300..330)] {
        fs::write(data.join(format!("{split}.txt")), lines.map(line).collect::<String>()).unwrap();
    }
    data.to_str().unwrap().to_owned()
}

fn train(data: &str, out: &str, flags: &str) -> Ran {
    let mut args = vec!["train", "--data", data, "--out", out, "--json"];
    args.extend(MODEL.split_whitespace().chain(flags.split_whitespace()));
    reproduce(&args)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn an_adaptive_model_is_trained_evaluated_and_resumed_without_naming_the_order_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = &data(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (run, whole, bare) = (path("run"), path("whole"), path("bare"));

    let expected = train(data, &whole, &format!("{ADAPTIVE} --epochs 3")).json();
    train(data, &run, &format!("{ADAPTIVE} --epochs 3 --steps 40")).succeeds();
    let config = text(&Path::new(&run).join("config.json"));
    assert!(config.contains(r#""ids": "frequency""#) && config.contains(r#""widths""#), "{config}");
    let resumed = train(data, &run, &format!("{ADAPTIVE} --epochs 3 --resume")).json();
    assert_eq!(resumed["losses"], expected["losses"]);
    assert_eq!(resumed["test_loss"], expected["test_loss"]);

    // The folder and the file alone know the order.
    fs::create_dir(&bare).unwrap();
    let file = format!("{bare}/model.safetensors");
    fs::copy(format!("{run}/model.safetensors"), &file).unwrap();
    for checkpoint in [&run, &file] {
        let ran = reproduce(&["evaluate", "--checkpoint", checkpoint, "--data", data, "--json"]);
        let loss = ran.json()["loss"].as_f64().unwrap();
        assert!((loss - expected["test_loss"].as_f64().unwrap()).abs() < 1e-6);
        for (temperature, data) in [("1", vec![]), ("0", vec!["--data", data]), ("0.5", vec![])] {
            let generate = |seed: &str| {
                let args = ["generate", "--checkpoint", checkpoint, "--words", "30", "--json"];
                let sampling = ["--temperature", temperature, "--seed", seed];
                let text =
                    reproduce(&[&args[..], &sampling, &data].concat()).json()["text"].clone();
                text.as_str().unwrap().to_owned()
            };
            let text = generate("3");
            assert!(text.split_whitespace().all(|word| word.starts_with('w')), "{text}");
            assert_eq!(text, generate("3"));
            assert_eq!(text != generate("4"), temperature != "0");
        }
    }
}

#[test]
fn widths_and_orders_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = &data(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (published, frequent, adaptive) = (path("published"), path("frequent"), path("adaptive"));
    let steps = "--epochs 1 --steps 3";
    train(data, &published, &format!("--splits none {steps}")).succeeds();
    train(data, &frequent, &format!("--splits none --ids frequency {steps}")).succeeds();
    train(data, &adaptive, &format!("{ADAPTIVE} {steps}")).succeeds();
    let config = text(&Path::new(&published).join("config.json"));
    assert!(!config.contains("ids") && !config.contains("widths"), "{config}");

    let ids = "--ids frequency";
    for (out, flags, messages) in [
        ("new", "--splits 5,12 --widths 8,4,2".to_owned(), ["--widths 8,4,2", "`--ids frequency`"]),
        ("new", format!("{ids} --splits 5,12 --widths 8,4"), ["--widths 8,4:", "3 clusters"]),
        ("new", format!("{ids} --widths 8,4"), ["--widths 8,4:", "1 cluster"]),
        ("new", format!("{ids} --splits 5 --widths 8,9"), ["--widths 8,9:", "at most --emsize, 8"]),
        ("new", "--ids alphabet".to_owned(), ["--ids", "first-appearance or frequency"]),
        (
            "new",
            format!("--splits none --init {frequent} {steps}"),
            ["by frequency", "use `--ids frequency`"],
        ),
        (
            "new",
            format!("--splits none {ids} --init {published} {steps}"),
            ["in order of first appearance", "leave out `--ids frequency`"],
        ),
        (
            "new",
            format!("--splits 5,12 --init {adaptive} {steps}"),
            ["a model of --widths 8,4,2, but this call has none", "use `--widths 8,4,2`"],
        ),
        (
            "new",
            format!("{ADAPTIVE} --init {published} {steps}"),
            ["a model of --widths none, but this call has 8,4,2", "leave out --widths"],
        ),
        (
            "frequent",
            "--splits none --epochs 1 --resume".to_owned(),
            ["by frequency", "use `--ids frequency`"],
        ),
        (
            "adaptive",
            format!("{ids} --splits 5,12 --widths 8,3,2 --epochs 1 --resume"),
            ["has widths [8,4,2], but this call has [8,3,2]", "use the settings"],
        ),
    ] {
        let ran = train(data, &path(out), &flags);
        ran.is_refused(&flags);
        for message in messages {
            assert!(ran.stderr.contains(message), "{flags}: {}", ran.stderr);
        }
    }
    assert!(!Path::new(&path("new")).exists());
}
