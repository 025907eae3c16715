//! Renders the report as an HTML document without scripts or external files.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::format::{NOTHING, duration, perplexity, perplexity_of, seconds, thousands};
use crate::paper;
use crate::paper::results::{Measured, ReproduceResults};
use crate::view::html::{operations, table};
use crate::view::plot::Plot;

const STYLE: &str = include_str!("page.css");

const SOURCE: &str = "https://github.com/micronet-challenge-submissions/Jaist-MicroNet-Challenge";

const PUBLISHED: [&str; 7] = ["emsize", "nhid", "bptt", "batch", "epochs", "params", "test ppl"];

const MEASURED: [&str; 11] = [
    "emsize",
    "nhid",
    "bptt",
    "batch",
    "epochs",
    "tokens",
    "steps",
    "params",
    "valid ppl",
    "test ppl",
    "seconds",
];

pub(super) fn html(results: &ReproduceResults) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "QRNN language model, reproduced" }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                (heading(results))
                h2 { "Operations of the entry" }
                p class="quiet" {
                    "Per token of the model of row " (paper::ENTRY) ": 2 bytes per parameter; a \
                     multiplication counts 1/2, an addition 1."
                }
                div class="wide" {
                    (operations(&results.op_table))
                    p class="quiet" style="margin-top:10px" { (results.op_table.scores()) }
                }
                (parameters(results))
                @if !results.rows.is_empty() { (experiments(results)) }
                @if !results.lengths.is_empty() { (lengths(results)) }
                (bounds(results))
                (notes(results))
                h2 { "Run it again" }
                pre { (results.command) }
                footer {
                    "Written by qrnn " (results.version) ". The same data are in results.json in \
                     the folder of this page."
                }
            } }
        }
    };
    page.into_string()
}

fn heading(results: &ReproduceResults) -> Markup {
    let (machine, corpus, scale) = (&results.machine, &results.corpus, &results.scale);
    let commit = results.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    let cores = if machine.cores == 1 { "core" } else { "cores" };
    let [train, valid, test] =
        [corpus.train_tokens, corpus.valid_tokens, corpus.test_tokens].map(thousands);
    let words = thousands(corpus.words as u64);
    let facts = [
        ("Started", results.started.clone()),
        ("Duration", duration(results.seconds)),
        ("Processor", format!("{}, {} {cores}", machine.cpu, machine.cores)),
        ("System", machine.system.clone()),
        ("Device", machine.device.clone()),
        ("Program", format!("qrnn {}{commit}", results.version)),
        ("Seed", results.seed.to_string()),
        ("Scale", format!("{}: {}", scale.name, scale.note)),
        ("Recipe", scale.recipe.clone()),
        ("Corpus", format!("{}, vocabulary of {words} words", corpus.name)),
        ("Tokens", format!("{train} train, {valid} valid, {test} test")),
    ];
    html! {
        h1 { "The MicroNet Challenge QRNN language model, reproduced" }
        p {
            "The JAIST team's entry to the MicroNet Challenge of 2019 is a 4-layer QRNN language \
             model of WikiText-103, made as small as a test perplexity under "
            (paper::PERPLEXITY_LIMIT) " permits. This page compares its "
            a href=(SOURCE) { "published tables" }
            " with what this run counted and measured. Numbers marked " em { "published" }
            " were not measured here."
        }
        @if results.interrupted {
            p { strong { "This run was interrupted; unfinished rows are missing." } }
        }
        dl class="facts" {
            @for (name, value) in facts { div { dt { (name) } dd { (value) } } }
        }
    }
}

fn parameters(results: &ReproduceResults) -> Markup {
    let rows = results.parameter_counts.iter().map(|count| {
        let tombstones = match count.criterion {
            0 => String::new(),
            n => format!(" (with {} tombstones)", thousands(n)),
        };
        let difference = i128::from(count.counted) - i128::from(count.published);
        let cells = [
            format!("{}{tombstones}", count.name),
            thousands(count.counted),
            thousands(count.published),
            difference.to_string(),
        ];
        (count.name == paper::ENTRY, cells)
    });
    html! {
        h2 { "Parameters at full size" }
        div class="wide" { (table(&["row", "counted", "published", "difference"], rows)) }
    }
}

fn entry_class(name: &str) -> Option<&'static str> {
    (name == paper::ENTRY).then_some("entry")
}

fn experiments(results: &ReproduceResults) -> Markup {
    let rows = html! {
        @for row in &results.rows {
            @let published = &row.published;
            tr class=[entry_class(&row.name)] {
                td { (published.emsize) }
                td { (published.nhid) }
                td { (published.bptt) }
                td { (published.batch_text()) }
                td { (published.epochs) }
                td { (thousands(published.parameters)) }
                td class="result" { (perplexity(published.test_ppl)) }
                (measured_cells(&row.measured))
            }
        }
    };
    html! {
        h2 { "Experiment table" }
        p class="quiet" {
            "Measured: " (results.scale.note) ". Perplexities on different corpora or of different \
             sizes cannot be compared directly; how they change from row to row can. The entry is in \
             bold."
        }
        (paired_table(results, "Published: full size, WikiText-103", &PUBLISHED, &rows))
        (figure(&results.parameters_plot()))
    }
}

fn lengths(results: &ReproduceResults) -> Markup {
    let rows = html! {
        @for length in &results.lengths {
            tr {
                td { (length.published.bptt) }
                td class="result" { (format_args!("{:.1}", length.published.ppl)) }
                (measured_cells(&length.measured))
            }
        }
    };
    html! {
        h2 { "Sequence length" }
        (paired_table(results, "Published", &["bptt", "ppl"], &rows))
        (figure(&results.lengths_plot()))
    }
}

/// A table with published columns on the left and measured ones on the right.
fn paired_table(results: &ReproduceResults, title: &str, left: &[&str], rows: &Markup) -> Markup {
    html! {
        div class="wide" { table class="paired compact" {
            thead {
                tr {
                    th class="group" colspan=(left.len()) { (title) }
                    th class="gap" {}
                    th class="group measured" colspan=(MEASURED.len()) {
                        "Measured: " (results.scale.name) ", " (results.corpus.name)
                    }
                }
                tr {
                    @for heading in left { th { (heading) } }
                    th class="gap" {}
                    @for heading in MEASURED { th class="measured" { (heading) } }
                }
            }
            tbody { (rows) }
        } }
    }
}

fn measured_cells(measured: &Option<Measured>) -> Markup {
    let cells = measured.as_ref().map(|run| {
        [
            run.emsize.to_string(),
            run.nhid.to_string(),
            run.bptt.to_string(),
            run.batch.to_string(),
            run.epochs.to_string(),
            thousands(run.tokens),
            thousands(run.steps),
            thousands(run.parameters),
            perplexity_of(run.valid_loss),
            perplexity_of(run.test_loss) + if run.interrupted { "*" } else { "" },
            seconds(run.seconds),
        ]
    });
    html! {
        td class="gap" {}
        @if let Some(cells) = cells {
            @for (cell, heading) in cells.iter().zip(MEASURED) {
                td.measured.result[heading == "test ppl"] { (cell) }
            }
        } @else {
            td class="measured none" colspan=(MEASURED.len()) { "not run" }
        }
    }
}

fn figure(plot: &Plot) -> Markup {
    html! { figure { (PreEscaped(plot.svg())) } }
}

fn bounds(results: &ReproduceResults) -> Markup {
    let corpus = &results.corpus;
    let test_ppls = results.measured_rows().map(|run| run.test_ppl);
    let best_measured = test_ppls.filter(|ppl| ppl.is_finite()).reduce(f64::min);
    let best = match corpus.best_test_ppl {
        Some(best) => perplexity(best),
        None => format!("{NOTHING} (unknown for this corpus)"),
    };
    let bounds = [
        ["Unigram model".into(), perplexity(corpus.unigram_test_ppl)],
        ["Best row of this run".into(), best_measured.map_or_else(|| NOTHING.into(), perplexity)],
        ["Best possible".into(), best],
    ];
    html! {
        h2 { "Bounds of the perplexity" }
        div class="wide" {
            (table(&["test perplexity of", &corpus.name], bounds.map(|bound| (false, bound))))
        }
    }
}

fn notes(results: &ReproduceResults) -> Markup {
    let mut runs = results.measured_rows().chain(results.measured_lengths());
    html! {
        h2 { "Notes" }
        ul {
            li {
                "The batch size is published for the first and the last row only; a batch size in \
                 parentheses is the assumed value, " (paper::STAND_IN_BATCH) "."
            }
            li {
                "The published perplexities by sequence length were read from the chart by eye, to \
                 about ±" (paper::LENGTHS_TOLERANCE) "; the write-up does not state their model."
            }
            li {
                "The published parameter count of the first row includes the tombstones of the split \
                 softmax, those of the others do not. Measured counts and plots exclude them."
            }
            @if runs.any(|run| run.interrupted) {
                li { "* interrupted before the end of training." }
            }
        }
    }
}
