//! Rich output of compressed models.

use maud::{Markup, PreEscaped, html};

use super::results::impl_evcxr_display;
use super::{Show, WIDTH};
use crate::Result;
use crate::compress::{CompressedLm, TensorReport, zeros};
use crate::format::{NOTHING, aligned, megabytes, percent, score, thousands};
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
        let (rows, note) = match scores(self) {
            Ok((reports, whole)) => {
                let file = megabytes(self.file().bytes());
                let note = format!(
                    "MicroNet score {}, counted from these tensors; the file takes {file}, its header \
                     included.",
                    score(whole)
                );
                (tensors(&reports, Some(whole)), note)
            }
            Err(error) => (tensors(&self.tensors(), None), error.to_string()),
        };
        let html = html! { (table_of_rows(&rows, TOTAL)) (remark(&note)) };
        MimeBundle::html(html, aligned(&rows) + &note)
    }
}

/// The tensors with their scores, and the score of the model.
fn scores(model: &CompressedLm) -> Result<(Vec<TensorReport>, f64)> {
    let counter = OpCounter::rules();
    Ok((counter.tensors(model)?, counter.count_compressed(model)?.score))
}

/// Headings and cells of tensors, and their sum. If they are counted, and with the score of the model, a column has their
/// shares and a row what is not of a tensor.
pub(crate) fn tensors(tensors: &[TensorReport], whole: Option<f64>) -> Vec<Vec<String>> {
    let mut rows = TensorReport::cells(tensors);
    let nonzeros: u64 = tensors.iter().map(|tensor| tensor.nonzeros).sum();
    let all: u64 = tensors.iter().map(TensorReport::elements).sum();
    let bits: u64 = tensors.iter().map(|tensor| tensor.stored_bits).sum();
    let (zeros, stored) = (zeros(nonzeros, all), megabytes(bits.div_ceil(8)));
    let total = [TOTAL.into(), String::new(), thousands(nonzeros), zeros, String::new(), stored];
    rows.push(total.to_vec());
    let counted: Vec<f64> = tensors.iter().filter_map(|tensor| tensor.score).collect();
    if let Some(whole) = whole.filter(|_| !counted.is_empty()) {
        let share = |part: f64| percent(part / whole);
        rows[0].push("share of score".into());
        for (row, tensor) in rows[1..].iter_mut().zip(tensors) {
            row.push(tensor.score.map_or_else(|| NOTHING.into(), share));
        }
        let mut rest = vec![String::new(); rows[0].len() - 1];
        rest[0] = "gates, softmax, cache".into();
        rest.push(share(whole - counted.iter().sum::<f64>()));
        let last = rows.len() - 1;
        rows[last].push(percent(1.0));
        rows.insert(last, rest);
    }
    rows
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
