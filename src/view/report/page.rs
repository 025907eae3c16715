//! Renders the report as an HTML document without scripts or external files.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::comparison::{BAR, Comparison, DIFFERENCES, INTERRUPTED, differences};
use crate::format::{NOTHING, duration, perplexity, thousands};
use crate::paper;
use crate::paper::results::{Machine, Origin, ParameterCount, ReproduceResults};
use crate::view::html::{operations, table, table_of_rows};
use crate::view::plot::Plot;

const STYLE: &str = include_str!("page.css");

const SOURCE: &str = "https://github.com/micronet-challenge-submissions/Jaist-MicroNet-Challenge";

/// * `compressions`: sections that follow those of the results.
pub(super) fn html(results: &ReproduceResults, compressions: &Markup) -> String {
    let content = html! {
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
        @if !results.differences.is_empty() { (neighbours(results)) }
        (bounds(results))
        (compressions)
        (notes(results))
        h2 { "Run it again" }
        pre { (commands(results)) }
        footer {
            "Written by qrnn " (results.version) ". The same data are in results.json in \
             the folder of this page."
        }
    };
    document("QRNN language model, reproduced", &content)
}

/// A document without scripts or external files.
pub(super) fn document(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
    };
    page.into_string()
}

fn heading(results: &ReproduceResults) -> Markup {
    let (corpus, scale) = (&results.corpus, &results.scale);
    let [train, valid, test] =
        [corpus.train_tokens, corpus.valid_tokens, corpus.test_tokens].map(thousands);
    let words = thousands(corpus.words as u64);
    let facts = [
        ("Started", results.started.clone()),
        ("Time of all runs", duration(results.seconds)),
        (
            "Processor",
            of_origins(results, |origin| {
                let Machine { cpu, cores, .. } = &origin.machine;
                format!("{cpu}, {cores} {}", if *cores == 1 { "core" } else { "cores" })
            }),
        ),
        ("System", of_origins(results, |origin| origin.machine.system.clone())),
        ("Device", of_origins(results, |origin| origin.machine.device.clone())),
        (
            "Program",
            of_origins(results, |Origin { version, commit, .. }| match commit {
                Some(commit) => format!("qrnn {version} ({commit})"),
                None => format!("qrnn {version}"),
            }),
        ),
        ("Seeds", seeds(results)),
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
        @if let Some(missing) = results.what_is_missing() { p { strong { (missing) } } }
        dl class="facts" {
            @for (name, value) in facts { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// A property of the programs and machines that trained the runs: several if they differ in it.
fn of_origins(results: &ReproduceResults, property: impl Fn(&Origin) -> String) -> String {
    let ReproduceResults { version, commit, command, machine, .. } = results;
    let writer = Origin {
        version: version.clone(),
        commit: commit.clone(),
        command: command.clone(),
        machine: machine.clone(),
    };
    let mut values: Vec<String> =
        results.origins.iter().map(|runs| property(&runs.origin)).collect();
    if values.is_empty() {
        values.push(property(&writer));
    }
    values.sort();
    values.dedup();
    values.join("; ")
}

/// The command lines that trained the runs, a line each.
fn commands(results: &ReproduceResults) -> String {
    let mut commands: Vec<&str> =
        results.origins.iter().map(|runs| runs.origin.command.as_str()).collect();
    commands.dedup();
    if commands.is_empty() { results.command.clone() } else { commands.join("\n") }
}

/// The seeds, as a range where there is none missing.
fn seeds(results: &ReproduceResults) -> String {
    match &results.seeds[..] {
        [] => results.seed.to_string(),
        [first, .., last] if last - first + 1 == results.seeds.len() as u64 => {
            format!("{first} to {last}")
        }
        seeds => seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn parameters(results: &ReproduceResults) -> Markup {
    let rows = ParameterCount::table(&results.parameter_counts);
    html! {
        h2 { "Parameters at full size" }
        div class="wide" { (table_of_rows(&rows, paper::ENTRY)) }
    }
}

fn experiments(results: &ReproduceResults) -> Markup {
    html! {
        h2 { "Experiment table" }
        p class="quiet" {
            "Measured: " (results.scale.note) ". Perplexities on different corpora or of different \
             sizes cannot be compared directly; how they change from row to row can. The entry is in \
             bold."
        }
        (comparison(results, &Comparison::of_rows(results)))
        @if let Some(plot) = results.parameters_figure() { (figure(&plot)) }
    }
}

fn lengths(results: &ReproduceResults) -> Markup {
    html! {
        h2 { "Sequence length" }
        (comparison(results, &Comparison::of_lengths(results)))
        @if let Some(plot) = results.lengths_figure() { (figure(&plot)) }
    }
}

fn neighbours(results: &ReproduceResults) -> Markup {
    html! {
        h2 { "Differences between neighbours" }
        p class="quiet" { (DIFFERENCES) }
        div class="wide" { (table_of_rows(&differences(results), "")) }
    }
}

fn comparison(results: &ReproduceResults, table: &Comparison) -> Markup {
    let headings = &table.rows[0];
    let bar = headings.iter().position(|heading| heading == BAR).unwrap_or(0);
    html! {
        div class="wide" { table class="paired compact" {
            thead {
                tr {
                    th class="group" colspan=(bar) { (table.title) }
                    th class="gap" {}
                    th class="group measured" colspan=(headings.len() - bar - 1) {
                        "Measured: " (results.scale.name) ", " (results.corpus.name)
                    }
                }
                tr {
                    @for (i, heading) in headings.iter().enumerate() {
                        th.gap[i == bar].measured[i > bar] { @if i != bar { (heading) } }
                    }
                }
            }
            tbody {
                @for row in &table.rows[1..] {
                    tr.entry[row[0] == paper::ENTRY] {
                        @for (i, cell) in row.iter().enumerate() {
                            td.gap[i == bar].measured[i > bar].result[headings[i] == "test ppl"] {
                                @if i != bar { (cell) }
                            }
                        }
                    }
                }
            }
        } }
    }
}

pub(super) fn figure(plot: &Plot) -> Markup {
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
    html! {
        h2 { "Notes" }
        ul {
            li {
                "The batch size is published for the first and the last row only; a batch size in \
                 parentheses is the assumed value, " (paper::ASSUMED_BATCH) "."
            }
            li {
                "The published perplexities by sequence length were read from the chart by eye, to \
                 about ±" (paper::LENGTHS_TOLERANCE) "; the write-up does not state their model."
            }
            li {
                "The published parameter count of the first row includes the tombstones of the split \
                 softmax, those of the others do not. Measured counts and plots exclude them."
            }
            @if results.has_interrupted_runs() { li { (INTERRUPTED) } }
        }
    }
}
