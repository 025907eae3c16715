//! Perplexity against MicroNet score, of the stages of compressed models.

use super::chart::{Content, Panel, Plot, PlotPoint, Series, Strip};
use crate::paper::compression::{CompressionResults, Stage};
use crate::paper::{PublishedScore, SCORES, ScoreSource};

/// Width and height, in page pixels.
const PAGE: (u32, u32) = (900, 600);

impl AsRef<[Self]> for CompressionResults {
    /// Itself alone, so that [`perplexity_vs_score`] takes one or several.
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}

/// Plots test perplexity against MicroNet score: the stages of each compression in their order, connected. Published
/// scores, which are of models of WikiText-103, lie below on an axis without a perplexity.
///
/// `runs` is one [`CompressionResults`] or a slice of several.
pub fn perplexity_vs_score(runs: impl AsRef<[CompressionResults]>) -> Plot {
    let runs = runs.as_ref();
    let series = runs.iter().enumerate().map(|(i, run)| Series {
        label: if runs.len() > 1 { label(run, i) } else { String::new() },
        points: run.stages.iter().map(point).collect(),
        line: true,
        markers: true,
    });
    let panel = Panel {
        title: "Measured".into(),
        subtitle: texts(runs).join(", "),
        x_label: "MicroNet score".into(),
        y_label: "test perplexity".into(),
        log_x: true,
        log_y: true,
        series: series.collect(),
        strip: Some(published()),
        ..Panel::default()
    };
    let title = "Test perplexity against MicroNet score";
    let plot = Plot::new("perplexity_vs_score", title, Content::Panels(vec![panel]));
    let plot = Plot { page: PAGE, ..plot };
    let best = runs.iter().map(|run| run.corpus.as_ref()?.best_test_ppl);
    match (texts(runs).len(), best.collect::<Option<Vec<f64>>>().as_deref()) {
        // The bound is that of one text.
        (1, Some([best, ..])) => plot.best_possible(*best),
        _ => plot,
    }
}

/// The texts that perplexities were measured on.
fn texts(runs: &[CompressionResults]) -> Vec<&str> {
    let mut texts: Vec<&str> =
        runs.iter().filter_map(|run| Some(run.corpus.as_ref()?.name.as_str())).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// The name of a run, or its place among them.
fn label(run: &CompressionResults, i: usize) -> String {
    if run.name.is_empty() { format!("run {}", i + 1) } else { run.name.clone() }
}

fn point(stage: &Stage) -> PlotPoint {
    let label = Some(stage.name.clone());
    PlotPoint { x: stage.score, y: stage.test_ppl, error: 0.0, label }
}

/// The published scores. Those of one team and one source have a common label.
fn published() -> Strip {
    let same = |a: &PublishedScore, b: &PublishedScore| (a.team, a.source) == (b.team, b.source);
    let marks = SCORES.chunk_by(same).flat_map(|scores| {
        let [first, last] = [scores[0], scores[scores.len() - 1]];
        let range = match scores.len() {
            1 => first.score.to_string(),
            _ => format!("{} to {}", first.score, last.score),
        };
        let paper = if first.source == ScoreSource::Paper { " (paper of 2020)" } else { "" };
        let ppl = first.test_ppl.map(|ppl| format!(", perplexity {ppl}")).unwrap_or_default();
        let text = format!("{}{paper} {range}{ppl}", first.team);
        let labeled = scores.len() / 2;
        scores
            .iter()
            .enumerate()
            .map(move |(i, score)| (score.score, (i == labeled).then(|| text.clone())))
    });
    let title = "Published scores: WikiText-103, full size, test perplexity of at most 35".into();
    Strip { title, marks: marks.collect() }
}
