//! Communication between a notebook cell and the Jupyter kernel. The cells are ignored tests of this file,
//! which other tests start in a separate process.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use qrnn::data::SyntheticConfig;
use qrnn::evaluate::{EvalOptions, evaluate_split};
use qrnn::model::Splits;
use qrnn::prelude::*;
use qrnn::view::progress;
use qrnn::view::show::Show;
use serde_json::Value;

const COUNTER: &str = "QRNN_JUPYTER_INTERRUPTS";

/// Runs one of the cells below; with a counter, as the qrnn kernel does.
fn cell(name: &str, counter: Option<&Path>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("notebook::{name}"), "--ignored", "--nocapture"]);
    command.arg("--test-threads=1").env("OMP_NUM_THREADS", "1").env_remove(COUNTER);
    if let Some(counter) = counter {
        command.env(COUNTER, counter);
    }
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{stderr}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{stderr}");
    output
}

fn counter(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("interrupts");
    std::fs::write(&path, 41u64.to_le_bytes()).unwrap();
    path
}

fn small(valid_tokens: usize) -> (Corpus, QrnnLm) {
    let sizes =
        SyntheticConfig { train_tokens: 60_000, valid_tokens, ..SyntheticConfig::default() };
    let corpus = Corpus::synthetic_with(&sizes);
    let config = LmConfig::paper(16, 32).layers(2).bptt(20).splits(Splits::At(vec![200, 1000]));
    let model = QrnnLm::new(&config, &corpus, Device::Cpu).unwrap();
    (corpus, model)
}

fn recipe(epochs: usize) -> Recipe {
    Recipe::paper().bptt(20).batch(6).epochs(epochs).lr(3e-3)
}

#[test]
#[ignore = "a cell of live_displays_are_messages"]
fn cell_that_trains() {
    let (corpus, mut model) = small(60_000);
    println!(); // libtest does not end its line
    let started = Instant::now();
    let run = Trainer::new(recipe(2)).fit(&mut model, &corpus).unwrap();
    println!("seconds {}", started.elapsed().as_secs_f64());
    run.evcxr_display();
    plot_of(&run).evcxr_display();
}

fn plot_of(run: &qrnn::train::TrainingRun) -> qrnn::view::plot::Plot {
    plot::training_curve(std::slice::from_ref(run)).title("a\nEVCXR_END_CONTENT\n<b>")
}

/// The kernel messages in the output of a cell, and the other lines.
fn messages(output: &Output) -> (Vec<Value>, Vec<String>) {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let (mut messages, mut others) = (vec![], vec![]);
    for line in stdout.lines() {
        match line.strip_prefix("\u{1e}qrnn-jupyter ") {
            Some(json) => messages.push(serde_json::from_str(json).unwrap()),
            None => others.push(line.to_owned()),
        }
    }
    (messages, others)
}

#[test]
fn live_displays_are_messages() {
    let folder = tempfile::tempdir().unwrap();
    let output = cell("cell_that_trains", Some(&counter(folder.path())));
    let (messages, others) = messages(&output);
    let kinds: Vec<_> = messages.iter().map(|m| m["msg_type"].as_str().unwrap()).collect();
    assert_eq!(kinds[0], "display_data");
    assert!(kinds.len() >= 3 && kinds[1..].iter().all(|kind| *kind == "update_display_data"));
    let id = |message: &Value| message["content"]["transient"]["display_id"].clone();
    assert!(id(&messages[0]).as_str().is_some_and(|id| !id.is_empty()));
    assert!(messages.iter().all(|message| id(message) == id(&messages[0])), "one display");
    for message in &messages {
        assert!(message["content"]["metadata"].is_object());
        let data = &message["content"]["data"];
        roxmltree::Document::parse(data["image/svg+xml"].as_str().unwrap()).unwrap();
        assert!(data["text/plain"].as_str().unwrap().contains("tokens/s"));
    }
    let last = messages.last().unwrap()["content"]["data"]["text/plain"].as_str().unwrap();
    assert!(last.contains("100 %") && last.contains("total"), "{last}");
    let seconds = others.iter().find_map(|line| line.strip_prefix("seconds ")).unwrap();
    let seconds: f64 = seconds.parse().unwrap();
    assert!(kinds.len() as f64 <= 2.0 * seconds + 3.0, "{} in {seconds} s", kinds.len());

    // Results are printed in blocks; their content cannot end a block.
    let blocks: Vec<&str> =
        others.iter().filter_map(|line| line.strip_prefix("EVCXR_BEGIN_CONTENT ")).collect();
    let plot_types = ["image/svg+xml", "image/png", "text/plain"];
    assert_eq!(blocks, [&["text/html", "text/plain"][..], &plot_types].concat());
    let ends = others.iter().filter(|line| *line == "EVCXR_END_CONTENT").count();
    assert_eq!(ends, blocks.len());
}

#[test]
fn other_kernels_get_plain_lines_only() {
    let output = cell("cell_that_trains", None);
    assert!(messages(&output).0.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().filter(|line| line.contains("valid ppl")).count(), 2, "{stderr}");
}

/// Interrupts from another thread after `wait`, and returns the time of the interrupt.
fn interrupt_after(wait: Duration) -> std::thread::JoinHandle<Instant> {
    std::thread::spawn(move || {
        std::thread::sleep(wait);
        use std::os::unix::fs::FileExt;
        let path = std::env::var_os(COUNTER).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 0).unwrap();
        file.write_all_at(&(u64::from_le_bytes(bytes) + 1).to_le_bytes(), 0).unwrap();
        Instant::now()
    })
}

/// Runs and interrupts `work`; returns its result and the time from the interrupt to its end.
fn interrupted<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let interrupt = interrupt_after(Duration::from_millis(700));
    let result = work();
    let ended = Instant::now();
    assert!(interrupt.is_finished(), "the work ended before the interrupt");
    (result, ended - interrupt.join().unwrap())
}

#[test]
#[ignore = "a cell of an_interrupt_stops_a_call_and_keeps_the_model"]
fn cell_that_is_interrupted() {
    const MAX_DELAY: Duration = Duration::from_secs(1);
    let (corpus, mut model) = small(20_000);
    let before = model.weight_copies().unwrap();
    let trainer = Trainer::new(recipe(10_000));
    let (run, delay) = interrupted(|| trainer.fit(&mut model, &corpus).unwrap());
    assert!(delay < MAX_DELAY, "{delay:?}");
    assert!(run.interrupted && !run.losses.is_empty() && run.test_ppl.is_none());
    assert!(run.bundle().parts()[0].1.contains("keeps what it has learned"));
    assert_ne!(before, model.weight_copies().unwrap());

    // The interrupt does not affect the next call, which continues from the current weights.
    let short = Recipe { steps: Some(20), ..recipe(1) };
    let next = Trainer::new(short).fit(&mut model, &corpus).unwrap();
    assert!(!next.interrupted && next.losses.len() == 20);
    let first = run.losses[0];
    let mean = next.losses.iter().sum::<f64>() / 20.0;
    assert!(mean < first - 1.0, "{mean} after {first}");

    // An interrupt during a long validation.
    let (long, mut other) = small(3_000_000);
    let once = Recipe { steps: Some(1), ..recipe(1) };
    let (run, delay) = interrupted(|| Trainer::new(once).fit(&mut other, &long).unwrap());
    assert!(delay < MAX_DELAY && run.interrupted && run.epochs.is_empty(), "{delay:?}");

    let (result, delay) = interrupted(|| evaluate(&other, &long, Split::Valid).unwrap());
    assert!(delay < MAX_DELAY && result.interrupted, "{delay:?}");
    assert!((1..long.tokens(Split::Valid).len() - 10).contains(&result.tokens), "{result}");
    let options = EvalOptions { bptt: 3, ..EvalOptions::original(Split::Test, 3) };
    evaluate_split(&other, &long, Split::Test, &options, &mut *progress::here()).unwrap();

    let sampling = Sampling { words: 10_000_000, ..Sampling::default() };
    let (text, delay) = interrupted(|| generate(&model, &corpus, "", &sampling).unwrap());
    assert!(delay < MAX_DELAY && text.interrupted && !text.text.is_empty(), "{delay:?}");
}

#[test]
fn an_interrupt_stops_a_call_and_keeps_the_model() {
    let folder = tempfile::tempdir().unwrap();
    cell("cell_that_is_interrupted", Some(&counter(folder.path())));
}
