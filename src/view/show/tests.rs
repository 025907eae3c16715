use tch::Device;

use super::*;
use crate::data::{Corpus, Split};
use crate::generate::{Generated, Sampling};
use crate::model::{LmConfig, QrnnLm};
use crate::paper;
use crate::paper::experiment::{Experiment, Scale};
use crate::paper::operation_counts::{OpRow, count_ops};
use crate::progress::Silent;
use crate::train::{Recipe, Trainer};
use crate::view::plot;
use crate::view::progress::{evaluate, generate};

/// Every form of a value, checked for being what its type says; the HTML or SVG comes back.
fn sound(what: &str, value: &impl Show) -> String {
    let bundle = value.bundle();
    let (last, text) = bundle.parts().last().unwrap();
    assert_eq!(*last, "text/plain", "{what}");
    assert!(!text.trim().is_empty(), "{what}");
    for (mime, body) in bundle.parts() {
        match *mime {
            "text/html" => {
                let whole = format!("<div>{body}</div>");
                roxmltree::Document::parse(&whole).unwrap_or_else(|e| panic!("{what}: {e} {body}"));
                assert!(!body.contains("color"), "{what}: the theme's colors are to be left alone");
            }
            "image/svg+xml" => {
                let parsed = roxmltree::Document::parse(body).unwrap();
                assert_eq!(parsed.root_element().tag_name().name(), "svg", "{what}");
            }
            "image/png" => assert!(body.starts_with("iVBORw0KGgo"), "{what}"),
            "text/plain" => {}
            other => panic!("{what}: {other}"),
        }
    }
    bundle.parts()[0].1.clone()
}

#[test]
fn every_result_shows_itself_soundly() {
    tch::set_num_threads(1);
    let corpus = Corpus::synthetic().take_train(3_000);
    let config = LmConfig::paper(8, 12).layers(2).bptt(20);
    let mut model = QrnnLm::new(&config, &corpus, Device::Cpu).unwrap();
    let recipe = Recipe::paper().bptt(20).batch(4).epochs(2);
    let run = Trainer::new(recipe.clone()).fit_with(&mut model, &corpus, &mut Silent).unwrap();

    let shown = sound("corpus", &corpus);
    assert!(shown.contains("&lt;eos&gt;") && shown.contains("3,000"), "{shown}");
    assert!(sound("configuration", &config).contains("<td"));
    assert!(sound("recipe", &recipe).contains("adam"));
    assert!(sound("model", &model).contains("rnns.1.linear.weight"));
    let shown = sound("run", &run);
    assert!(shown.contains("Test perplexity") && shown.matches("<tr>").count() == 3, "{shown}");
    assert!(
        sound("evaluation", &evaluate(&model, &corpus, Split::Valid).unwrap())
            .contains("perplexity")
    );
    assert!(sound("operations", &count_ops(&paper::entry().config())).contains("156.857"));
    assert!(sound("both", &crate::paper::results::OpTables::of_entry()).contains("published"));
    let sampling = Sampling { words: 30, ..Sampling::default() };
    sound("text", &generate(&model, &corpus, "", &sampling).unwrap());

    let gates = model.gates(&corpus, "in the <eos>", 0);
    let gates = gates.or_else(|_| model.gates(&corpus, "<eos> <eos>", 0)).unwrap();
    assert!(sound("gates", &gates).contains("&lt;eos&gt;"));
    let runs = [run];
    assert!(sound("plot", &plot::perplexity_vs_parameters(&runs)).contains("8/12"));
    sound("curve", &plot::training_curve(&runs));

    let scale = Scale::reduced(50.0).unwrap();
    let experiment = Experiment::table(scale, &["300-1500-140"]);
    let text = Corpus::synthetic().take_train(2_000);
    let results = experiment.run_with(&text, &mut Silent).unwrap();
    let shown = sound("experiment", &results);
    assert!(shown.contains("36.46") && !shown.contains("Sequence length"), "{shown}");
}

#[test]
fn what_is_shown_cannot_be_markup() {
    let hostile = "<script>alert('&')</script>";
    let text = Generated { text: hostile.into(), interrupted: true };
    assert!(!sound("text", &text).contains("<script"));
    let mut table = count_ops(&paper::entry().config());
    table.rows.push(OpRow { op: hostile.into(), ..table.total.clone() });
    assert!(!sound("operations", &table).contains("<script"));
}
