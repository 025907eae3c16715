use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::Error;
use crate::data::SyntheticConfig;
use crate::interrupt::Interrupt;
use crate::paper;
use crate::progress::Silent;
use qrnn_ops::matmul::Precision;

/// Two rows of one length, of which one is also a length of the figure; 13 steps each.
fn experiment() -> Experiment {
    tch::set_num_threads(1);
    let scale = Scale::reduced(50.0).unwrap();
    let rows = ["300-2000-140", "300-1500-140"];
    let lengths = vec![140];
    Experiment { lengths, ..Experiment::table(scale, &rows) }
}

fn text() -> Corpus {
    text_of(103, 1_000)
}

fn text_of(seed: u64, tokens: usize) -> Corpus {
    let (valid_tokens, test_tokens) = (300, 300);
    let config = SyntheticConfig { seed, train_tokens: 2_000, valid_tokens, test_tokens };
    Corpus::synthetic_with(&config).take_train(tokens)
}

fn run(experiment: &Experiment) -> Result<ReproduceResults> {
    experiment.run_with(&text(), &mut Silent, &mut |_| Ok(()))
}

/// Results without times, which differ from run to run.
fn timeless(results: &ReproduceResults) -> serde_json::Value {
    fn remove(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.retain(|name, _| !["seconds", "started"].contains(&name.as_str()));
                fields.values_mut().for_each(remove);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(remove),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(results).unwrap();
    remove(&mut value);
    value
}

fn modified(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn seeds_give_means_deviations_and_differences() {
    let results = run(&experiment().seeds(2)).unwrap();
    assert_eq!(results.seeds, [1882, 1883]);
    let [large, small] = [0, 1].map(|row| results.rows[row].measured.clone().unwrap());
    let [first, second] = &large.runs[..] else { panic!("{large:?}") };
    assert!(first.test_ppl != second.test_ppl && first.seed + 1 == second.seed);
    assert_eq!(large.test_ppl, (first.test_ppl + second.test_ppl) / 2.0);
    let deviation = (first.test_ppl - second.test_ppl).abs() / 2f64.sqrt();
    assert!((large.test_ppl_deviation.unwrap() / deviation - 1.0).abs() < 1e-9);
    // The length is the model of the first row.
    assert_eq!(results.lengths[0].measured.as_ref(), Some(&large));
    let [difference] = &results.differences[..] else { panic!("{:?}", results.differences) };
    let mean = small.test_ppl - large.test_ppl;
    assert!((difference.mean - mean).abs() < 1e-9 && difference.seeds == 2);
    let names: Vec<_> = results.origins.iter().flat_map(|origin| &origin.runs).collect();
    assert_eq!(names, ["6-30-5-s1882", "6-30-5-s1883", "6-40-5-s1882", "6-40-5-s1883"]);
}

#[test]
fn one_seed_has_no_deviation() {
    let results = run(&experiment()).unwrap();
    let measured = results.rows[0].measured.as_ref().unwrap();
    assert_eq!((measured.test_ppl_deviation, measured.runs.len()), (None, 1));
    assert!(results.differences.is_empty() && results.missing.is_empty());
    assert!(!results.to_text().contains('±') || !results.to_text().contains("stands out"));
}

#[test]
fn runs_with_a_folder_have_the_results_of_runs_without_and_are_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let stored = experiment().folder(folder.path());
    let results = run(&stored).unwrap();
    let runs = folder.path().join("runs");
    let mut names: Vec<_> =
        fs::read_dir(&runs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["6-30-5-s1882", "6-40-5-s1882"]);
    let run_folder = runs.join("6-30-5-s1882");
    assert!(run_folder.join("model.safetensors").exists());
    let checkpoint = |name: &str| name.starts_with("checkpoint-") || name == "owner";
    let files = fs::read_dir(&run_folder).unwrap();
    let files: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!files.iter().any(|name| checkpoint(name)), "{files:?}");

    let mut without = run(&experiment()).unwrap();
    let folders = |results: &mut ReproduceResults| {
        let rows = results.rows.iter_mut().map(|row| &mut row.measured);
        let all = rows.chain(results.lengths.iter_mut().map(|length| &mut length.measured));
        let runs = all.flatten().flat_map(|measured| &mut measured.runs);
        runs.map(|run| run.folder.take()).collect::<Vec<_>>()
    };
    let mut with = results.clone();
    assert_eq!(folders(&mut with)[0].as_deref(), Some("runs/6-40-5-s1882"));
    folders(&mut without);
    assert_eq!(timeless(&with), timeless(&without));

    let weights = run_folder.join("model.safetensors");
    let written = modified(&weights);
    assert_eq!(run(&stored).unwrap().rows, results.rows);
    assert_eq!(modified(&weights), written);
    let again = run(&stored.clone().overwrite(true)).unwrap();
    assert!(modified(&weights) > written);
    assert_eq!(timeless(&again), timeless(&results));
}

/// As with several processes: rows, then lengths, then one more seed, in one folder.
#[test]
fn parts_of_an_experiment_add_up_in_one_folder() {
    let [parts, whole] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let part = |change: fn(Experiment) -> Experiment| {
        let part = change(experiment().folder(parts.path()));
        let results = run(&part).unwrap();
        results.save(parts.path()).unwrap();
        results
    };
    part(|all| Experiment { rows: vec!["300-1500-140".into()], lengths: vec![], ..all });
    part(|all| Experiment { rows: vec![], ..all });
    let rows = part(|all| Experiment { lengths: vec![], ..all }.seeds(2));
    let expected = run(&experiment().seeds(2).folder(whole.path())).unwrap();
    assert_eq!(timeless(&rows), timeless(&expected));
}

#[test]
fn interrupted_runs_are_missing_and_go_on() {
    let [folder, calm] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let expected = run(&experiment().folder(calm.path())).unwrap();
    let interrupt = Interrupt::default();
    let stored = experiment().folder(folder.path()).interrupt(interrupt.clone());
    let mut calls = 0;
    let results = stored.run_with(&text(), &mut Silent, &mut |results| {
        calls += 1;
        if results.missing.len() == 1 {
            interrupt.request();
        }
        Ok(())
    });
    let results = results.unwrap();
    assert!(results.interrupted && results.missing.len() == 1 && calls == 2, "{results:?}");
    assert!(results.to_text().contains("Interrupted: the run 6-"), "{}", results.to_text());
    let resumed = run(&experiment().folder(folder.path())).unwrap();
    assert_eq!(timeless(&resumed), timeless(&expected));
}

#[test]
fn another_scale_text_or_kind_of_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let stored = experiment().folder(folder.path());
    run(&stored).unwrap().save(folder.path()).unwrap();
    let refused = |experiment: &Experiment, corpus: &Corpus| {
        experiment.run_with(corpus, &mut Silent, &mut |_| Ok(())).unwrap_err().to_string()
    };
    let scale = Scale::reduced(40.0).unwrap();
    let error = refused(&Experiment { scale, ..stored.clone() }, &text());
    assert!(error.contains("widths ÷ 50") && error.contains("widths ÷ 40"), "{error}");
    let error = refused(&stored, &text_of(103, 1_200));
    assert!(error.contains("1,000 training tokens") && error.contains("1,200"), "{error}");
    // Another text of the same size.
    let error = refused(&stored, &text_of(5, 1_000));
    assert!(error.contains("its text is \"synthetic ("), "{error}");

    let results = folder.path().join("results.json");
    let later = fs::read_to_string(&results).unwrap().replacen("\"format\": 2", "\"format\": 3", 1);
    fs::write(&results, later).unwrap();
    let error = refused(&stored, &text());
    assert!(error.contains("later version") && error.contains("format 3, here 2"), "{error}");
    fs::write(&results, "{}").unwrap();
    assert!(matches!(run(&stored), Err(Error::Busy { .. })));
    fs::remove_file(&results).unwrap();

    let config = folder.path().join("runs/6-30-5-s1882/config.json");
    let changed = fs::read_to_string(&config).unwrap().replace("\"lr\": 0.004", "\"lr\": 0.003");
    assert!(changed.contains("0.003"), "{changed}");
    fs::write(&config, changed).unwrap();
    // Finished, and then unfinished.
    let error = refused(&stored, &text());
    assert!(error.contains("lr 0.003, but this call has 0.004"), "{error}");
    fs::remove_file(config.with_file_name("results.json")).unwrap();
    let error = refused(&stored, &text());
    assert!(error.contains("lr 0.003, but this call has 0.004"), "{error}");
    fs::write(config.with_file_name("results.json"), "{").unwrap();
    let error = refused(&stored, &text());
    assert!(error.contains("6-30-5-s1882/results.json, line 1"), "{error}");
}

#[test]
fn nothing_to_train_and_unknown_names_are_refused() {
    let refused = |experiment: Experiment| run(&experiment).unwrap_err().to_string();
    let error = refused(Experiment { rows: vec![], lengths: vec![], ..experiment() });
    assert!(error.contains("nothing would be trained"), "{error}");
    let error = refused(Experiment { lengths: vec![90], ..experiment() });
    assert!(error.starts_with("experiment.lengths 90") && error.contains("50,70,100"), "{error}");
    assert!(refused(experiment().seeds(0)).starts_with("experiment.seeds 0"));
    assert!(refused(experiment().seed(u64::MAX).seeds(2)).starts_with("experiment.seeds 2"));
}

#[test]
fn folders_are_gathered_into_the_table_of_one() {
    let [a, b, whole, out] = [0, 1, 2, 3].map(|_| tempfile::tempdir().unwrap());
    let row = |name: &str| Experiment { rows: vec![name.into()], lengths: vec![], ..experiment() };
    let save = |experiment: Experiment, folder: &Path| {
        run(&experiment.seeds(2).folder(folder)).unwrap().save(folder).unwrap();
    };
    save(row("300-2000-140"), a.path());
    save(row("300-1500-140"), b.path());
    let expected =
        run(&Experiment { lengths: vec![], ..experiment() }.seeds(2).folder(whole.path()));
    let expected = expected.unwrap();
    let gather = |folders: &[&Path], out: &Path| {
        let folders: Vec<PathBuf> = folders.iter().map(|&folder| folder.into()).collect();
        gather_folders(&folders, out, "a notebook")
    };
    let gathered = gather(&[a.path(), b.path()], out.path()).unwrap();
    assert_eq!(gathered.differences, expected.differences);
    let folder = gathered.rows[0].measured.as_ref().unwrap().runs[0].folder.clone().unwrap();
    assert_eq!(
        out.path().join(folder).canonicalize().unwrap(),
        a.path().join("runs/6-40-5-s1882").canonicalize().unwrap()
    );
    // Folders of runs, without weights and without the experiment's results.
    let runs = ["runs/6-40-5-s1882", "runs/6-40-5-s1883"].map(|run| a.path().join(run));
    fs::remove_file(runs[0].join("model.safetensors")).unwrap();
    let of_runs = gather(&[&runs[0], &runs[1], b.path()], out.path()).unwrap();
    assert_eq!(of_runs.rows.len(), 2);
    // A run stands for the lengths of its sizes, too.
    assert_eq!(of_runs.differences[..1], expected.differences);
    assert_eq!(of_runs.lengths.len(), 6);

    let error = gather(&[out.path()], out.path()).unwrap_err().to_string();
    assert!(error.contains("neither the folder of a table nor that of a run"), "{error}");
    let error = gather(&[a.path()], b.path()).unwrap_err().to_string();
    assert!(error.contains("has runs of its own"), "{error}");
}

#[test]
fn results_name_the_sizes_that_are_trained() {
    for scale in
        [Scale::Full, Scale::Medium, Scale::reduced(1.0).unwrap(), Scale::reduced(10.0).unwrap()]
    {
        let described = scale.describe(Precision::Torch, 1_000);
        for row in &paper::ROWS {
            let (config, recipe) = scale.apply(&row.published, 4_152, 1);
            let trained = [config.emsize, config.nhid, recipe.bptt];
            assert_eq!(
                scale::sizes(&described, &row.published),
                trained,
                "{scale:?}, {}",
                row.name
            );
        }
    }
    let (config, recipe) = Scale::Medium.apply(&paper::ROWS[0].published, 4_152, 1);
    assert_eq!((config.emsize, config.nhid, config.layers), (80, 50, 2));
    assert_eq!((recipe.bptt, recipe.batch), (23, 6));
}
