//! Renders the report as an HTML document without scripts or external files.

use std::fmt::Write as _;

use crate::format::{NOTHING, duration, perplexity, perplexity_of, seconds, thousands};
use crate::paper::operation_counts::comparison_html;
use crate::paper::results::{Measured, ReproduceResults};
use crate::view::html::escape;
use crate::{Result, paper};

const STYLE: &str = include_str!("page.css");

const SOURCE: &str = "https://github.com/micronet-challenge-submissions/Jaist-MicroNet-Challenge";

pub(super) fn html(results: &ReproduceResults) -> Result<String> {
    let mut page = String::with_capacity(64 * 1024);
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str("<title>QRNN language model, reproduced</title>\n<style>\n");
    page.push_str(STYLE);
    page.push_str("</style>\n</head>\n<body>\n<main>\n");
    heading(&mut page, results);
    operations(&mut page, results);
    parameters(&mut page, results);
    if !results.rows.is_empty() {
        experiments(&mut page, results)?;
    }
    if !results.lengths.is_empty() {
        lengths(&mut page, results)?;
    }
    notes(&mut page, results);
    let _ = write!(
        page,
        "<h2>Run it again</h2>\n<pre>{}</pre>\n<footer>Written by qrnn {}. The same data are in \
         results.json in the folder of this page.</footer>\n</main>\n</body>\n</html>\n",
        escape(&results.command),
        escape(&results.version)
    );
    Ok(page)
}

fn heading(page: &mut String, results: &ReproduceResults) {
    let _ = write!(
        page,
        "<h1>The MicroNet Challenge QRNN language model, reproduced</h1>\n\
         <p>The JAIST team's entry to the MicroNet Challenge of 2019 is a 4-layer QRNN language \
         model of WikiText-103, made as small as a test perplexity under {:.0} permits. \
         This page compares its <a href=\"{SOURCE}\">published tables</a> with what this run \
         counted and measured. Numbers marked <em>published</em> were not measured here.</p>\n",
        paper::PERPLEXITY_LIMIT
    );
    if results.interrupted {
        page.push_str(
            "<p><strong>This run was interrupted; unfinished rows are missing.</strong></p>\n",
        );
    }
    let (machine, corpus) = (&results.machine, &results.corpus);
    let version = match &results.commit {
        Some(commit) => format!("qrnn {} ({commit})", results.version),
        None => format!("qrnn {}", results.version),
    };
    let cores = if machine.cores == 1 { "core" } else { "cores" };
    let facts = [
        ("Started", results.started.clone()),
        ("Duration", duration(results.seconds)),
        ("Processor", format!("{}, {} {cores}", machine.cpu, machine.cores)),
        ("System", machine.system.clone()),
        ("Device", machine.device.clone()),
        ("Program", version),
        ("Seed", results.seed.to_string()),
        ("Scale", format!("{}: {}", results.scale.name, results.scale.note)),
        ("Recipe", results.scale.recipe.clone()),
        (
            "Corpus",
            format!("{}, vocabulary of {} words", corpus.name, thousands(corpus.words as u64)),
        ),
        (
            "Tokens",
            format!(
                "{} train, {} valid, {} test",
                thousands(corpus.train_tokens),
                thousands(corpus.valid_tokens),
                thousands(corpus.test_tokens)
            ),
        ),
    ];
    page.push_str("<dl class=\"facts\">\n");
    for (name, value) in facts {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
    }
    page.push_str("</dl>\n");
}

fn operations(page: &mut String, results: &ReproduceResults) {
    let _ = write!(
        page,
        "<h2>Operations of the entry</h2>\n<p class=\"quiet\">Per token of the model of row {}: \
         2 bytes per parameter; a multiplication counts 1/2, an addition 1.</p>\n\
         <div class=\"wide\">{}</div>\n",
        paper::ENTRY,
        comparison_html(&results.op_table.counted)
            .replace("<p>", "<p class=\"quiet\" style=\"margin-top:10px\">")
    );
}

fn parameters(page: &mut String, results: &ReproduceResults) {
    page.push_str(
        "<h2>Parameters at full size</h2>\n<div class=\"wide\"><table class=\"paired\"><thead><tr>\
         <th>row</th><th class=\"first\">counted</th><th class=\"first\">published</th>\
         <th class=\"first\">difference</th></tr></thead><tbody>\n",
    );
    for count in &results.parameter_counts {
        let difference = i128::from(count.counted) - i128::from(count.published);
        let note = match count.criterion {
            0 => String::new(),
            n => format!(" (with {} tombstones)", thousands(n)),
        };
        let _ = writeln!(
            page,
            "<tr{}><td>{}{note}</td><td class=\"first\">{}</td><td class=\"first\">{}</td>\
             <td class=\"first\">{difference}</td></tr>",
            entry_class(&count.name),
            escape(&count.name),
            thousands(count.counted),
            thousands(count.published),
        );
    }
    page.push_str("</tbody></table></div>\n");
}

fn entry_class(name: &str) -> &'static str {
    if name == paper::ENTRY { " class=\"entry\"" } else { "" }
}

const MEASURED_HEADINGS: [&str; 11] = [
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

fn measured_cells(page: &mut String, measured: Option<&Measured>) {
    page.push_str("<td class=\"gap\"></td>");
    let Some(run) = measured else {
        let columns = MEASURED_HEADINGS.len();
        let _ = write!(page, "<td class=\"measured none\" colspan=\"{columns}\">not run</td>");
        return;
    };
    let cells = [
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
    ];
    for (cell, heading) in cells.iter().zip(MEASURED_HEADINGS) {
        let result = if heading == "test ppl" { " result" } else { "" };
        let _ = write!(page, "<td class=\"measured{result}\">{cell}</td>");
    }
}

/// The two header rows of a table with published columns on the left and measured ones on the right.
fn paired_header(page: &mut String, results: &ReproduceResults, groups: [&str; 2], left: &[&str]) {
    let _ = write!(
        page,
        "<div class=\"wide\"><table class=\"paired compact\"><thead><tr><th class=\"group\" \
         colspan=\"{}\">{}</th><th class=\"gap\"></th><th class=\"group measured\" \
         colspan=\"{}\">Measured: {}</th></tr><tr>",
        left.len(),
        groups[0],
        MEASURED_HEADINGS.len(),
        escape(&format!("{}, {}", results.scale.name, groups[1])),
    );
    for heading in left {
        let _ = write!(page, "<th>{heading}</th>");
    }
    page.push_str("<th class=\"gap\"></th>");
    for heading in MEASURED_HEADINGS {
        let _ = write!(page, "<th class=\"measured\">{heading}</th>");
    }
    page.push_str("</tr></thead><tbody>\n");
}

fn experiments(page: &mut String, results: &ReproduceResults) -> Result<()> {
    let _ = write!(
        page,
        "<h2>Experiment table</h2>\n<p class=\"quiet\">Measured: {}. Perplexities on different \
         corpora or of different sizes cannot be compared directly; how they change from row to row \
         can. The entry is in bold.</p>\n",
        escape(&results.scale.note)
    );
    let left = ["emsize", "nhid", "bptt", "batch", "epochs", "params", "test ppl"];
    let groups = ["Published: full size, WikiText-103", &results.corpus.name];
    paired_header(page, results, groups, &left);
    for row in &results.rows {
        let published = &row.published;
        let batch = if published.batch_published {
            published.batch.to_string()
        } else {
            format!("({})", published.batch)
        };
        let _ = write!(
            page,
            "<tr{}><td>{}</td><td>{}</td><td>{}</td><td>{batch}</td><td>{}</td><td>{}</td>\
             <td class=\"result\">{}</td>",
            entry_class(&row.name),
            published.emsize,
            published.nhid,
            published.bptt,
            published.epochs,
            thousands(published.parameters),
            perplexity(published.test_ppl),
        );
        measured_cells(page, row.measured.as_ref());
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
    figure(page, &results.parameters_plot().svg()?);
    Ok(())
}

fn lengths(page: &mut String, results: &ReproduceResults) -> Result<()> {
    page.push_str("<h2>Sequence length</h2>\n");
    paired_header(page, results, ["Published", &results.corpus.name], &["bptt", "ppl"]);
    for length in &results.lengths {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"result\">{:.1}</td>",
            length.published.bptt, length.published.ppl
        );
        measured_cells(page, length.measured.as_ref());
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
    figure(page, &results.lengths_plot().svg()?);
    Ok(())
}

fn figure(page: &mut String, svg: &str) {
    let _ = writeln!(page, "<figure>{svg}</figure>");
}

fn notes(page: &mut String, results: &ReproduceResults) {
    page.push_str("<h2>Bounds of the perplexity</h2>\n");
    let corpus = &results.corpus;
    let test_ppls = results.rows.iter().filter_map(|row| Some(row.measured.as_ref()?.test_ppl));
    let best_measured = test_ppls.filter(|ppl| ppl.is_finite()).reduce(f64::min);
    let best = match corpus.best_test_ppl {
        Some(best) => perplexity(best),
        None => format!("{NOTHING} (unknown for this corpus)"),
    };
    let bounds = [
        ("Unigram model", perplexity(corpus.unigram_test_ppl)),
        ("Best row of this run", best_measured.map_or_else(|| NOTHING.into(), perplexity)),
        ("Best possible", best),
    ];
    page.push_str("<div class=\"wide\"><table><thead><tr><th>test perplexity of</th>");
    let _ = write!(page, "<th class=\"first\">{}</th></tr></thead><tbody>", escape(&corpus.name));
    for (name, value) in bounds {
        let _ = write!(page, "<tr><td>{name}</td><td class=\"first\">{value}</td></tr>");
    }
    let _ = write!(
        page,
        "</tbody></table></div>\n<h2>Notes</h2>\n<ul>\n<li>The batch size is published for the \
         first and the last row only; a batch size in parentheses is the assumed value, {}.</li>\n\
         <li>The published perplexities by sequence length were read from the chart by eye, to about \
         ±{}; the write-up does not state their model.</li>\n<li>The published parameter count of the \
         first row includes the tombstones of the split softmax, those of the others do not. Measured \
         counts and plots exclude them.</li>\n",
        paper::STAND_IN_BATCH,
        paper::LENGTHS_TOLERANCE
    );
    let mut runs = results.rows.iter().map(|row| &row.measured);
    let mut length_runs = results.lengths.iter().map(|length| &length.measured);
    let was_interrupted = |run: &Option<Measured>| run.as_ref().is_some_and(|run| run.interrupted);
    if runs.any(was_interrupted) || length_runs.any(was_interrupted) {
        page.push_str("<li>* interrupted before the end of training.</li>\n");
    }
    page.push_str("</ul>\n");
}
