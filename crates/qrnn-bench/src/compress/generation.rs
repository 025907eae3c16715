//! Words per second of generation, batch size 1.

use std::time::Instant;

use qrnn::Result;
use qrnn::generate::{Sampling, generate_text};
use qrnn::progress::Silent;
use serde_json::json;

use super::args::Args;
use super::models::Model;
use crate::report::Report;
use crate::statistics::median;

/// A temperature at which all words' probabilities are computed, as version 0.1 did at every temperature.
const WHOLE_VOCABULARY: f64 = 0.999;

pub fn run(args: &Args, models: &[Model], report: &mut Report) -> Result<()> {
    let mut cases: Vec<(String, &Model, f64)> = models
        .first()
        .map(|entry| (format!("{}, whole softmax", entry.name), entry, WHOLE_VOCABULARY))
        .into_iter()
        .collect();
    cases.extend(models.iter().map(|model| (format!("{}, cluster first", model.name), model, 1.0)));
    let mut rates = vec![vec![]; cases.len()];
    for run in 0..=args.runs {
        for ((_, model, temperature), rates) in cases.iter().zip(&mut rates) {
            let (words, temperature) = (args.words, *temperature);
            let seed = u64::from(run);
            let sampling = Sampling { words, temperature, seed, ..Sampling::default() };
            let vocab = model.lm.require_vocab()?;
            let started = Instant::now();
            generate_text(&model.lm, vocab, "", &sampling, &mut Silent)?;
            let rate = words as f64 / started.elapsed().as_secs_f64();
            // The first run, which may allocate, is not measured.
            if run > 0 {
                rates.push(rate);
            }
        }
    }
    let rates: Vec<f64> = rates.into_iter().map(median).collect();
    report.print(format!("generation, {} words a run", args.words));
    for ((name, model, _), rate) in cases.iter().zip(&rates) {
        let ratios: Vec<f64> = rates.iter().take(2).map(|against| rate / against).collect();
        report.print(format!(
            "  {name:<28} {rate:8.1} words/s   {:6.1} MB   {:.2} times the whole softmax, {:.2} times the entry \
             cluster first",
            model.bytes as f64 / 1e6,
            ratios[0],
            ratios[1]
        ));
        report.add(
            json!({"what": "generation", "of": name, "words": args.words, "runs": args.runs,
            "words_per_second": rate, "bytes": model.bytes,
            "against": [cases[0].0, cases[1].0], "against_words_per_second": rates[..2],
            "ratios": ratios}),
        )?;
    }
    Ok(())
}
