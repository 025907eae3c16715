//! Rich output of compressed models.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use super::results::impl_evcxr_display;
use super::{Show, WIDTH};
use crate::Result;
use crate::compress::{CompressedLm, TensorReport};
use crate::format::{NOTHING, aligned, megabytes, score, thousands};
use crate::notebook::MimeBundle;
use crate::paper::compression::{CompressionResults, Stage};
use crate::paper::operation_counts::OpCounter;
use crate::view::html::{name_value, remark, table_of_rows};
use crate::view::plot;

impl_evcxr_display!(CompressedLm, CompressionResults, Stage);

/// Name of the last row of a table.
const TOTAL: &str = "total";

impl Show for CompressedLm {
    /// The stored tensors, and what each adds to the score.
    fn bundle(&self) -> MimeBundle {
        let (rows, note) = match shares(self) {
            Ok((scores, whole)) => {
                let file = megabytes(self.file().bytes());
                let note = format!(
                    "MicroNet score {}, counted from these tensors; the file takes {file}, its header \
                     included.",
                    score(whole)
                );
                (tensors(&self.tensors(), Some((&scores, whole))), note)
            }
            Err(error) => (tensors(&self.tensors(), None), error.to_string()),
        };
        let html = html! { (table_of_rows(&rows, TOTAL)) (remark(&note)) };
        MimeBundle::html(html, aligned(&rows) + &note)
    }
}

/// The scores of the tensors by name, and of the model.
fn shares(model: &CompressedLm) -> Result<(BTreeMap<String, f64>, f64)> {
    let counter = OpCounter::rules();
    Ok((counter.scores_of_tensors(model)?, counter.count_compressed(model)?.score))
}

/// Headings and cells of tensors, and their sum. With scores by name and that of the model, a column has their shares
/// and a row what is not of a tensor.
pub(crate) fn tensors(
    tensors: &[TensorReport],
    scores: Option<(&BTreeMap<String, f64>, f64)>,
) -> Vec<Vec<String>> {
    let headings = ["tensor", "shape", "non-zeros", "zeros", "bits", "stored"].map(String::from);
    let stored = |bits: u64| megabytes(bits.div_ceil(8));
    let mut rows = vec![headings.to_vec()];
    for tensor in tensors {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        rows.push(vec![
            tensor.name.clone(),
            shape.join(" × "),
            thousands(tensor.nonzeros),
            percent(1.0 - tensor.nonzeros as f64 / elements(tensor) as f64),
            tensor.bits.to_string(),
            stored(tensor.stored_bits),
        ]);
    }
    let nonzeros: u64 = tensors.iter().map(|tensor| tensor.nonzeros).sum();
    let all: u64 = tensors.iter().map(elements).sum();
    let zeros = percent(1.0 - nonzeros as f64 / all.max(1) as f64);
    let bits = stored(tensors.iter().map(|tensor| tensor.stored_bits).sum());
    let total = [TOTAL.into(), String::new(), thousands(nonzeros), zeros, String::new(), bits];
    rows.push(total.to_vec());
    if let Some((scores, whole)) = scores {
        let share = |part: f64| percent(part / whole);
        rows[0].push("share of score".into());
        for (row, tensor) in rows[1..].iter_mut().zip(tensors) {
            row.push(scores.get(&tensor.name).map_or_else(|| NOTHING.into(), |&part| share(part)));
        }
        let rest = whole - scores.values().sum::<f64>();
        let mut row = vec![String::new(); rows[0].len() - 1];
        row[0] = "gates, softmax, cache".into();
        row.push(share(rest));
        let last = rows.len() - 1;
        rows[last].push(percent(1.0));
        rows.insert(last, row);
    }
    rows
}

fn elements(tensor: &TensorReport) -> u64 {
    tensor.shape.iter().map(|&n| n as u64).product()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

impl Show for CompressionResults {
    /// The table of the stages, and the plot beneath.
    fn bundle(&self) -> MimeBundle {
        let html = html! {
            (stages(self))
            @if !self.stages.is_empty() {
                div { (PreEscaped(plot::perplexity_vs_score(self).svg_of_width(WIDTH))) }
            }
        };
        MimeBundle::html(html, self.to_string())
    }
}

/// The table of the stages with a remark.
pub(crate) fn stages(results: &CompressionResults) -> Markup {
    html! { (table_of_rows(&results.cells(), "")) (remark(&results.summary())) }
}

impl Show for Stage {
    fn bundle(&self) -> MimeBundle {
        let rows = CompressionResults::cells_of(std::slice::from_ref(self));
        let facts: Vec<(&str, String)> =
            rows[0].iter().map(String::as_str).zip(rows[1].iter().cloned()).collect();
        MimeBundle::html(name_value(&facts), aligned(&rows))
    }
}
