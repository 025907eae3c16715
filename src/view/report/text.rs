//! Formats the results as text tables for a terminal.

use std::fmt::Write as _;

use crate::format::thousands;
use crate::format::{perplexity, perplexity_of, seconds};
use crate::paper;
use crate::paper::results::{Measured, ReproduceResults};

pub(super) fn tables(results: &ReproduceResults) -> String {
    let mut text = String::new();
    let (corpus, scale) = (&results.corpus, &results.scale);
    if !results.rows.is_empty() {
        rows(&mut text, results);
        text.push('\n');
    }
    if !results.lengths.is_empty() {
        lengths(&mut text, results);
        text.push('\n');
    }
    let best = corpus
        .best_test_ppl
        .map_or_else(String::new, |best| format!(", best possible {}", perplexity(best)));
    let _ = write!(
        text,
        "Test perplexity of {}: unigram model {}{best}.\nMeasured: {}; {}.\n(60) is assumed where no \
         batch size was published; published perplexities by length are read from a chart by eye, \
         ±{}.",
        corpus.name,
        perplexity(corpus.unigram_test_ppl),
        scale.note,
        scale.recipe,
        paper::LENGTHS_TOLERANCE
    );
    text
}

fn rows(text: &mut String, results: &ReproduceResults) {
    let _ = writeln!(
        text,
        "{:<41} | {}",
        "published: full size, WikiText-103",
        measured_title(results)
    );
    let _ = writeln!(
        text,
        "{:<12} {:>5} {:>6} {:>8} {:>6} | {}",
        "row",
        "batch",
        "epochs",
        "params M",
        "test",
        measured_header()
    );
    for row in &results.rows {
        let published = &row.published;
        let batch = if published.batch_published {
            published.batch.to_string()
        } else {
            format!("({})", published.batch)
        };
        let _ = writeln!(
            text,
            "{:<12} {batch:>5} {:>6} {:>8.3} {:>6.2} | {}",
            row.name,
            published.epochs,
            published.parameters as f64 / 1e6,
            published.test_ppl,
            measured_line(row.measured.as_ref())
        );
    }
}

fn lengths(text: &mut String, results: &ReproduceResults) {
    let _ = writeln!(text, "{:<12} {:>6} | {}", "published", "", measured_title(results));
    let _ = writeln!(text, "{:<12} {:>6} | {}", "bptt", "ppl", measured_header());
    for length in &results.lengths {
        let published = &length.published;
        let line = measured_line(length.measured.as_ref());
        let _ = writeln!(text, "{:<12} {:>6.1} | {line}", published.bptt, published.ppl);
    }
}

fn measured_title(results: &ReproduceResults) -> String {
    format!("measured: {}, {}", results.scale.name, results.corpus.name)
}

fn measured_header() -> String {
    format!(
        "{:<14} {:>5} {:>6} {:>10} {:>11} {:>8} {:>8} {:>7}",
        "em-nhid-bptt", "batch", "epochs", "tokens", "params", "valid", "test", "seconds"
    )
}

fn measured_line(measured: Option<&Measured>) -> String {
    let Some(run) = measured else { return "not run".into() };
    format!(
        "{:<14} {:>5} {:>6} {:>10} {:>11} {:>8} {:>8} {:>7}{}",
        format!("{}-{}-{}", run.emsize, run.nhid, run.bptt),
        run.batch,
        run.epochs,
        thousands(run.tokens),
        thousands(run.parameters),
        perplexity_of(run.valid_loss),
        perplexity_of(run.test_loss),
        seconds(run.seconds),
        if run.interrupted { "  interrupted" } else { "" }
    )
}
