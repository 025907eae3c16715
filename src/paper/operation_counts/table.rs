//! Formats operation tables as text and HTML, alone or compared with the published one.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::format::thousands;
use crate::paper;

/// Cost of one part of the model per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpRow {
    /// Part of the model: embedding, block_qrnn, block_decoder or total.
    pub op: String,
    /// Storage in 10^6 bytes.
    pub params_mbytes: f64,
    /// Millions of multiplications, weighted by their width over 32 bits.
    pub mults_m: f64,
    /// Millions of additions.
    pub adds_m: f64,
    /// Sum of both.
    pub mflops: f64,
}

impl OpRow {
    /// The four numbers, in column order.
    pub fn figures(&self) -> [f64; 4] {
        [self.params_mbytes, self.mults_m, self.adds_m, self.mflops]
    }
}

/// Parameters and operations of a model per token. Displays as a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpTable {
    /// Number of parameters, without the tombstones of the split softmax.
    pub parameters: u64,
    /// Number of tombstone parameters (`tail_vectors` and `tail_bias`), which only the training loss uses.
    pub criterion_parameters: u64,
    /// One row per part of the model.
    pub rows: Vec<OpRow>,
    /// Sum of the rows.
    pub total: OpRow,
    /// MicroNet score: storage plus operations, each divided by that of the challenge's baseline.
    pub score: f64,
}

const HEADINGS: [&str; 4] = ["params (MBytes)", "mults (M)", "adds (M)", "MFLOPS"];

impl OpTable {
    /// The rows, then their sum.
    pub fn rows_and_total(&self) -> impl Iterator<Item = &OpRow> {
        self.rows.iter().chain([&self.total])
    }

    /// The table as an HTML `<table>` without styles.
    pub fn to_html(&self) -> String {
        let mut html = String::from("<table class=\"ops\"><thead><tr><th>op</th>");
        for heading in HEADINGS {
            let _ = write!(html, "<th>{heading}</th>");
        }
        html.push_str("</tr></thead><tbody>");
        for row in self.rows_and_total() {
            let class = if row.op == "total" { " class=\"total\"" } else { "" };
            let _ = write!(html, "<tr{class}><td>{}</td>", escape(&row.op));
            for figure in row.figures() {
                let _ = write!(html, "<td>{figure:.3}</td>");
            }
            html.push_str("</tr>");
        }
        let _ = write!(html, "</tbody></table><p>{}</p>", self.summary());
        html
    }

    pub(crate) fn summary(&self) -> String {
        let tombstones = match self.criterion_parameters {
            0 => String::new(),
            n => format!(" (and {} of the loss)", thousands(n)),
        };
        format!(
            "{} parameters{tombstones}, MicroNet score {:.4}",
            thousands(self.parameters),
            self.score
        )
    }
}

impl fmt::Display for OpTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [params, mults, adds, mflops] = HEADINGS;
        writeln!(f, "{:<13}  {params:>15}  {mults:>11}  {adds:>11}  {mflops:>11}", "op")?;
        for row in self.rows_and_total() {
            let [params, mults, adds, mflops] = row.figures();
            writeln!(
                f,
                "{:<13}  {params:>15.3}  {mults:>11.3}  {adds:>11.3}  {mflops:>11.3}",
                row.op
            )?;
        }
        write!(f, "{}", self.summary())
    }
}

/// Aligned text with the counted table of the entry and the published one.
pub fn comparison_text(counted: &OpTable) -> String {
    let mut text = format!("{:<13}", "op");
    for heading in HEADINGS {
        let _ = write!(text, "  {heading:^21}");
    }
    let _ = write!(text, "\n{:13}", "");
    for _ in HEADINGS {
        let _ = write!(text, "  {:>10} {:>10}", "counted", "published");
    }
    for (op, figures) in compared_rows(counted) {
        let _ = write!(text, "\n{op:<13}");
        for (counted, published) in figures {
            let _ = write!(text, "  {counted:>10.3} {published:>10.3}");
        }
    }
    let _ = write!(text, "\n{}", score_line(counted));
    text
}

/// [`comparison_text`] as an HTML `<table>` without styles.
pub fn comparison_html(counted: &OpTable) -> String {
    let mut html =
        String::from("<table class=\"ops\"><thead><tr><th rowspan=\"2\" scope=\"col\">op</th>");
    for heading in HEADINGS {
        let _ = write!(html, "<th colspan=\"2\" class=\"group\" scope=\"colgroup\">{heading}</th>");
    }
    html.push_str("</tr><tr>");
    for _ in HEADINGS {
        html.push_str("<th class=\"first\" scope=\"col\">counted</th>");
        html.push_str("<th class=\"published\" scope=\"col\">published</th>");
    }
    html.push_str("</tr></thead><tbody>");
    for (op, figures) in compared_rows(counted) {
        let class = if op == "total" { " class=\"total\"" } else { "" };
        let _ = write!(html, "<tr{class}><td>{}</td>", escape(op));
        for (counted, published) in figures {
            let _ = write!(html, "<td class=\"first\">{counted:.3}</td>");
            let _ = write!(html, "<td class=\"published\">{published:.3}</td>");
        }
        html.push_str("</tr>");
    }
    let _ = write!(html, "</tbody></table><p>{}</p>", score_line(counted));
    html
}

/// Name and (counted, published) numbers of each row that was published.
fn compared_rows(counted: &OpTable) -> Vec<(&str, [(f64, f64); 4])> {
    let published = |op: &str| paper::OPERATIONS.iter().find(|row| row.op == op);
    counted
        .rows_and_total()
        .filter_map(|row| published(&row.op).map(|published| (row, published)))
        .map(|(row, p)| {
            let [params, mults, adds, mflops] = row.figures();
            let figures = [
                (params, p.params_mbytes),
                (mults, p.mults_m),
                (adds, p.adds_m),
                (mflops, p.mflops),
            ];
            (row.op.as_str(), figures)
        })
        .collect()
}

fn score_line(counted: &OpTable) -> String {
    format!(
        "MicroNet score {:.4} counted, {:.3} published, {:.4} on the leaderboard",
        counted.score,
        paper::SCORE,
        paper::LEADERBOARD_SCORE
    )
}

/// Escapes a row name, since a table may come from a file.
fn escape(op: &str) -> String {
    op.replace('&', "&amp;").replace('<', "&lt;")
}
