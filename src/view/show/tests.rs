use tch::Device;

use super::*;
use crate::compress::{CompressedLm, Plan};
use crate::data::{Corpus, Split};
use crate::evaluate::neural_cache::NeuralCache;
use crate::generate::{Generated, Sampling};
use crate::model::{LmConfig, QrnnLm, Splits};
use crate::paper;
use crate::paper::compression::{CompressionResults, CompressionStudy, Stage};
use crate::paper::experiment::{Experiment, Scale};
use crate::paper::operation_counts::{OpRow, count_ops};
use crate::progress::Silent;
use crate::train::{Compressor, Recipe, Trainer};
use crate::view::plot;
use crate::view::progress::{evaluate, evaluate_with, generate};

/// Checks that every body of a bundle is valid for its MIME type, and returns the HTML or SVG.
fn check_bundle(label: &str, value: &impl Show) -> String {
    let bundle = value.bundle();
    let (last, text) = bundle.parts().last().unwrap();
    assert_eq!(*last, "text/plain", "{label}");
    assert!(!text.trim().is_empty(), "{label}");
    for (mime, body) in bundle.parts() {
        match *mime {
            "text/html" => {
                let whole = format!("<div>{body}</div>");
                roxmltree::Document::parse(&whole)
                    .unwrap_or_else(|e| panic!("{label}: {e} {body}"));
                assert!(!body.contains("color"), "{label}: output must keep the theme's colors");
            }
            "image/svg+xml" => {
                let parsed = roxmltree::Document::parse(body).unwrap();
                assert_eq!(parsed.root_element().tag_name().name(), "svg", "{label}");
            }
            "image/png" => assert!(body.starts_with("iVBORw0KGgo"), "{label}"),
            "text/plain" => {}
            other => panic!("{label}: {other}"),
        }
    }
    bundle.parts()[0].1.clone()
}

#[test]
fn every_result_has_valid_output() {
    tch::set_num_threads(1);
    let corpus = Corpus::synthetic().take_train(3_000);
    let config = LmConfig::paper(8, 12).layers(2).bptt(20);
    let mut model = QrnnLm::new(&config, &corpus, Device::Cpu).unwrap();
    let recipe = Recipe::paper().bptt(20).batch(4).epochs(2);
    let run = Trainer::new(recipe.clone()).fit_with(&mut model, &corpus, &mut Silent).unwrap();

    let shown = check_bundle("corpus", &corpus);
    assert!(shown.contains("&lt;eos&gt;") && shown.contains("3,000"), "{shown}");
    assert!(check_bundle("configuration", &config).contains("<td"));
    let adaptive = config.clone().splits(Splits::At(vec![100])).widths([8, 2]);
    assert!(check_bundle("configuration", &adaptive).contains("8,2"));
    assert!(check_bundle("corpus", &corpus.by_frequency()).contains("ids by frequency"));
    assert!(check_bundle("recipe", &recipe).contains("adam"));
    assert!(check_bundle("model", &model).contains("rnns.1.linear.weight"));
    let shown = check_bundle("run", &run);
    assert!(shown.contains("Test perplexity") && shown.matches("<tr>").count() == 3, "{shown}");
    assert!(
        check_bundle("evaluation", &evaluate(&model, &corpus, Split::Valid).unwrap())
            .contains("perplexity")
    );
    let cache = NeuralCache::search(&model, &corpus, 50).unwrap();
    let shown = check_bundle("search", &cache);
    assert!(shown.contains("best λ") && shown.contains("<b>"), "{shown}");
    assert_eq!(shown.matches("<tr>").count(), 1 + cache.surface.len(), "{shown}");
    check_bundle("cache", &cache.cache);
    let with = evaluate_with(&model, &corpus, Split::Valid, &cache).unwrap();
    assert!(check_bundle("evaluation with a cache", &with).contains("without it"));
    assert!(check_bundle("operations", &count_ops(&paper::entry().config())).contains("156.857"));
    let shown = check_bundle("both", &crate::paper::results::OpTables::of_entry());
    assert!(shown.contains("<td class=\"published\">120.347</td>"), "{shown}");
    let sampling = Sampling { words: 30, ..Sampling::default() };
    check_bundle("text", &generate(&model, &corpus, "", &sampling).unwrap());

    let gates = model.gates(&corpus, "in the <eos>", 0);
    let gates = gates.or_else(|_| model.gates(&corpus, "<eos> <eos>", 0)).unwrap();
    assert!(check_bundle("gates", &gates).contains("&lt;eos&gt;"));
    let runs = [run];
    assert!(check_bundle("plot", &plot::perplexity_vs_parameters(&runs)).contains("8/12"));
    check_bundle("curve", &plot::training_curve(&runs));

    let scale = Scale::reduced(50.0).unwrap();
    let experiment = Experiment::table(scale, &["300-1500-140"]);
    let text = Corpus::synthetic().take_train(2_000);
    let results = experiment.run_with(&text, &mut Silent, &mut |_| Ok(())).unwrap();
    let shown = check_bundle("experiment", &results);
    assert!(shown.contains("36.46") && !shown.contains("Sequence length"), "{shown}");
}

#[test]
fn compressed_models_have_valid_output() {
    tch::set_num_threads(1);
    let corpus = Corpus::synthetic().by_frequency().take_train(3_000);
    let config = LmConfig::paper(8, 12).layers(2).bptt(20);
    let config = config.splits(Splits::At(vec![200, 1000])).widths([8, 4, 2]);
    let mut model = QrnnLm::new(&config, &corpus, Device::Cpu).unwrap();
    let plan = Plan::new().zeros("rnns", 0.5).activation_bits(8);
    let small = CompressedLm::one_shot(&model, &corpus, &plan).unwrap();
    let shown = check_bundle("compressed model", &small);
    for text in ["encoder.2.weight", "36 × 16", "50.0 %", "share of score", "gates, softmax, cache"]
    {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(shown.contains("<b>100.0 %</b>"), "{shown}");

    let recipe = Recipe::paper().bptt(20).batch(4).epochs(1);
    let trained = Compressor::new(plan.clone(), recipe).fit(&mut model, &corpus).unwrap();
    assert_eq!(trained.tensors().len(), small.tensors().len());

    let folder = tempfile::tempdir().unwrap();
    let study = CompressionStudy::one_shot(plan).folder(folder.path().join("small")).cache(50);
    let mut results = study.run(&mut model, &corpus).unwrap();
    results.stages.insert(0, Stage::of(&model, &corpus).unwrap());
    let shown = check_bundle("compression", &results);
    for text in ["adaptive", "pruned", "quantized", "cached", "<svg", "JNLP"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(check_bundle("stage", &results.stages[0]).contains("adaptive"));
    for file in ["compression.json", "perplexity_vs_score.svg", "perplexity_vs_score.png"] {
        assert!(folder.path().join("small").join(file).exists(), "{file}");
    }
    let read = CompressionResults::read(&folder.path().join("small")).unwrap();
    assert_eq!((read.name.as_str(), read.stages.len()), ("small", results.stages.len() - 1));
    assert_eq!(read.corpus.unwrap().name, corpus.name());
}

#[test]
fn output_is_escaped() {
    let markup = "<script>alert('&')</script>";
    let text = Generated { text: markup.into(), interrupted: true };
    assert!(!check_bundle("text", &text).contains("<script"));
    let mut table = count_ops(&paper::entry().config());
    table.rows.push(OpRow { op: markup.into(), ..table.total.clone() });
    assert!(!check_bundle("operations", &table).contains("<script"));
}
