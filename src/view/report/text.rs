//! Formats the results as text tables for a terminal.

use crate::format::{perplexity, perplexity_of, seconds, thousands};
use crate::paper;
use crate::paper::results::{Measured, ReproduceResults};

pub(super) fn tables(results: &ReproduceResults) -> String {
    let (corpus, scale) = (&results.corpus, &results.scale);
    let title = format!("measured: {}, {}", scale.name, corpus.name);
    let headings = format!(
        "{:<14} {:>5} {:>6} {:>10} {:>11} {:>8} {:>8} {:>7}",
        "em-nhid-bptt", "batch", "epochs", "tokens", "params", "valid", "test", "seconds"
    );
    let mut text = String::new();
    if !results.rows.is_empty() {
        text += &format!(
            "{:<41} | {title}\n{:<12} {:>5} {:>6} {:>8} {:>6} | {headings}\n",
            "published: full size, WikiText-103", "row", "batch", "epochs", "params M", "test"
        );
        for row in &results.rows {
            let published = &row.published;
            text += &format!(
                "{:<12} {:>5} {:>6} {:>8.3} {:>6.2} | {}\n",
                row.name,
                published.batch_text(),
                published.epochs,
                published.parameters as f64 / 1e6,
                published.test_ppl,
                measured_cells(&row.measured)
            );
        }
        text += "\n";
    }
    if !results.lengths.is_empty() {
        text +=
            &format!("{:<19} | {title}\n{:<12} {:>6} | {headings}\n", "published", "bptt", "ppl");
        for length in &results.lengths {
            let published = &length.published;
            let measured = measured_cells(&length.measured);
            text += &format!("{:<12} {:>6.1} | {measured}\n", published.bptt, published.ppl);
        }
        text += "\n";
    }
    let unigram = perplexity(corpus.unigram_test_ppl);
    let best = corpus.best_test_ppl.map(perplexity);
    let best = best.map_or_else(String::new, |best| format!(", best possible {best}"));
    text + &format!(
        "Test perplexity of {}: unigram model {unigram}{best}.\nMeasured: {}; {}.\n(60) is assumed \
         where no batch size was published; published perplexities by length are read from a chart by \
         eye, ±{}.",
        corpus.name,
        scale.note,
        scale.recipe,
        paper::LENGTHS_TOLERANCE
    )
}

fn measured_cells(measured: &Option<Measured>) -> String {
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
