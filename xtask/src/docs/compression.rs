//! Tables of compressed models, from the JSON of docs/compression/measure.sh.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Result;

use super::bench::{Grid, Records, milliseconds, tables};
use super::results::thousands;

/// `compression.json` of a folder.
#[derive(Deserialize)]
struct Compression {
    corpus: Corpus,
    stages: Vec<Stage>,
    tensors: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    shape: Vec<u64>,
}

#[derive(Deserialize)]
struct Corpus {
    name: String,
}

#[derive(Deserialize)]
struct Stage {
    name: String,
    valid_ppl: f64,
    test_ppl: f64,
    operations: f64,
    score: f64,
    bytes: u64,
    tokens_per_second: f64,
}

/// The end of a training run's `results.json`.
#[derive(Deserialize)]
struct Dense {
    test_ppl: f64,
}

impl Corpus {
    fn name(&self) -> &str {
        if self.name == "synthetic" { "embedded language" } else { &self.name }
    }
}

impl Compression {
    /// `emsize/nhid` of a model with one embedding.
    fn sizes(&self) -> String {
        let shape = |name| self.tensors.iter().find(|tensor| tensor.name == name).map(|t| &t.shape);
        // A layer has three rows for each hidden unit.
        match (shape("encoder.weight"), shape("rnns.0.linear.weight")) {
            (Some(embedding), Some(layer)) => format!("{}/{}", embedding[1], layer[0] / 3),
            _ => String::new(),
        }
    }
}

/// The lines of a dense model and of the stages of an adaptive one, on each text.
///
/// * `texts`: of each text those of the dense model, then those of the adaptive one. A dense model alone is left out.
pub fn stages(texts: &[String]) -> Result<String> {
    let mut lines = "| text | stage | validation perplexity | test perplexity | stored (kB) | operations (M) | score \
                     | tokens/s |\n\
                     | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let models: Vec<Compression> =
        texts.iter().map(|text| serde_json::from_str(text)).collect::<Result<_>>()?;
    for pair in models.windows(2) {
        let [dense, adaptive] = pair else { continue };
        if adaptive.stages.first().is_none_or(|stage| stage.name != "adaptive") {
            continue;
        }
        for stage in dense.stages.first().into_iter().chain(&adaptive.stages) {
            let _ = writeln!(
                lines,
                "| {} | {} | {:.2} | {:.2} | {} | {:.3} | {:.6} | {} |",
                adaptive.corpus.name(),
                stage.name,
                stage.valid_ppl,
                stage.test_ppl,
                thousands(stage.bytes.div_ceil(1000)),
                stage.operations / 1e6,
                stage.score,
                thousands(stage.tokens_per_second as u64),
            );
        }
    }
    Ok(lines)
}

/// The lines of what 8 bits and zeros cost: test perplexities of a model, of its rounded weights and activations, and after
/// further epochs, dense and with zeros.
///
/// * `texts`: of each text the dense model after further epochs, the rounded one, and those with fewer and more zeros.
pub fn costs(texts: &[String]) -> Result<String> {
    let mut lines =
        "| text | emsize/nhid | start | in 8 bits | dense, further epochs | 80 % zeros, the same epochs \
                     | 90 % zeros, the same epochs |\n\
                     | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
            .to_owned();
    for models in texts.chunks_exact(4) {
        let Dense { test_ppl: dense } = serde_json::from_str(&models[0])?;
        let compressed = models[1..].iter().map(|text| serde_json::from_str(text));
        let compressed = compressed.collect::<Result<Vec<Compression>>>()?;
        let perplexities = |model: &Compression| {
            let ends = model.stages.first().zip(model.stages.last());
            ends.map_or((f64::NAN, f64::NAN), |(start, end)| (start.test_ppl, end.test_ppl))
        };
        let (start, rounded) = perplexities(&compressed[0]);
        let nats = (rounded / start).ln();
        let model = format!("{} | {}", compressed[0].corpus.name(), compressed[0].sizes());
        let _ =
            write!(lines, "| {model} | {start:.2} | {rounded:.2} ({nats:+.4} nats) | {dense:.2} |");
        for model in &compressed[1..] {
            let (_, pruned) = perplexities(model);
            let change = 100.0 * (pruned / dense - 1.0);
            let _ = write!(lines, " {pruned:.2} ({change:+.1} %) |");
        }
        lines.push('\n');
    }
    Ok(lines)
}

/// A record of `cargo xtask bench compress`.
#[derive(Deserialize)]
struct Measured {
    of: String,
    #[serde(default)]
    bytes: f64,
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    words_per_second: f64,
    /// How many times as long the other implementation takes, or each of them.
    ratio: Option<f64>,
    #[serde(default)]
    ratios: Vec<f64>,
    #[serde(default)]
    tokens: u64,
    text: Option<String>,
}

impl Measured {
    fn megabytes(&self) -> String {
        format!("{:.1}", self.bytes / 1e6)
    }

    fn times(&self) -> String {
        self.ratio.map_or_else(String::new, times)
    }

    /// The file and its folder, or what the text is.
    fn text(&self) -> String {
        let text = self.text.as_deref().unwrap_or_default();
        let parts: Vec<&str> = text.rsplit('/').take(2).collect();
        parts.into_iter().rev().collect::<Vec<_>>().join("/")
    }
}

fn times(ratio: f64) -> String {
    format!("{ratio:.1}")
}

/// The lines of one kind of measurement of each device.
fn measured(
    texts: &[String],
    what: &str,
    head: &[&str],
    row: impl Fn(&Measured) -> Vec<String>,
) -> Result<String> {
    tables(texts, "compress", |records: &Records| {
        let mut grid: Grid = vec![head.iter().map(|cell| cell.to_string()).collect()];
        grid.extend(records.all::<Measured>(what)?.iter().map(&row));
        Ok(grid)
    })
}

/// Products of one token with a matrix of the entry's layers.
pub fn products(texts: &[String]) -> Result<String> {
    let head = ["weights (5400, 1800)", "MB", "ms", "times as fast as libtorch in fp32"];
    measured(texts, "product", &head, |product| {
        let time = milliseconds(product.seconds);
        vec![product.of.clone(), product.megabytes(), time, product.times()]
    })
}

/// Words drawn by models of full size.
pub fn generation(texts: &[String]) -> Result<String> {
    let head =
        ["model", "MB", "words/s", "times as fast as the whole softmax", "as its cluster first"];
    measured(texts, "generation", &head, |model| {
        let mut row = vec![model.of.clone(), model.megabytes()];
        row.push(thousands(model.words_per_second.round() as u64));
        row.extend(model.ratios.iter().copied().map(times));
        row
    })
}

/// Evaluation in one column by models of full size.
pub fn evaluation(texts: &[String]) -> Result<String> {
    let head = ["model", "text", "tokens", "seconds", "times as fast as the entry in fp32"];
    measured(texts, "evaluation", &head, |model| {
        let (tokens, seconds) = (thousands(model.tokens), format!("{:.1}", model.seconds));
        vec![model.of.clone(), model.text(), tokens, seconds, model.times()]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(stages: &[(&str, f64)]) -> String {
        let stage = |(name, ppl): &(&str, f64)| {
            format!(
                r#"{{"name": "{name}", "valid_ppl": 9.5, "test_ppl": {ppl}, "operations": 1234567,
                     "score": 0.0005, "bytes": 12345001, "tokens_per_second": 1234.5}}"#
            )
        };
        let stages: Vec<String> = stages.iter().map(stage).collect();
        format!(
            r#"{{"corpus": {{"name": "a text"}}, "stages": [{}], "tensors": [
                {{"name": "encoder.weight", "shape": [50, 8]}},
                {{"name": "rnns.0.linear.weight", "shape": [36, 16]}}]}}"#,
            stages.join(", ")
        )
    }

    #[test]
    fn each_stage_has_a_line() {
        let dense = compressed(&[("dense", 10.0), ("quantized", 9.0)]);
        let adaptive = compressed(&[("adaptive", 8.125), ("cached", 8.0)]);
        let lines = stages(&[dense.clone(), dense, adaptive]).unwrap();
        assert_eq!(
            lines.lines().skip(2).collect::<Vec<_>>(),
            [
                "| a text | dense | 9.50 | 10.00 | 12,346 | 1.235 | 0.000500 | 1,234 |",
                "| a text | adaptive | 9.50 | 8.12 | 12,346 | 1.235 | 0.000500 | 1,234 |",
                "| a text | cached | 9.50 | 8.00 | 12,346 | 1.235 | 0.000500 | 1,234 |",
            ]
        );
    }

    #[test]
    fn costs_are_those_over_the_dense_model() {
        let compressed =
            [10.01, 19.0, 21.0].map(|ppl| compressed(&[("dense", 10.0), ("quantized", ppl)]));
        let texts = [vec![r#"{"test_ppl": 20.0}"#.to_owned()], compressed.to_vec()].concat();
        let lines = costs(&texts).unwrap();
        let line = "| a text | 8/12 | 10.00 | 10.01 (+0.0010 nats) | 20.00 | 19.00 (-5.0 %) | 21.00 (+5.0 %) |";
        assert_eq!(lines.lines().skip(2).collect::<Vec<_>>(), [line]);
    }

    #[test]
    fn speeds_have_a_line_for_each_model_and_text() {
        let record = |rest: &str| {
            format!(r#"{{"bench": "compress", "device": "a machine", "runs": 5, {rest}}}"#)
        };
        let records = [
            r#""what": "product", "of": "8 bits", "bytes": 6078463, "seconds": 3.5e-4, "ratio": 9.26"#,
            r#""what": "generation", "of": "light", "bytes": 11e6, "words_per_second": 694.3, "ratios": [45.6, 8.71]"#,
            r#""what": "evaluation", "of": "light", "text": "random tokens", "tokens": 2240, "seconds": 0.5, "ratio": 3.9"#,
            r#""what": "evaluation", "of": "light", "text": "../data/wt/test.txt", "tokens": 245568, "seconds": 68.92, "ratio": 4.02"#,
        ];
        let texts = [records.map(record).join("\n")];
        let rows = |lines: String| lines.lines().skip(5).map(String::from).collect::<Vec<_>>();
        assert_eq!(rows(products(&texts).unwrap()), ["| 8 bits | 6.1 | 0.350 | 9.3 |", ""]);
        assert_eq!(rows(generation(&texts).unwrap()), ["| light | 11.0 | 694 | 45.6 | 8.7 |", ""]);
        let evaluations = [
            "| light | random tokens | 2,240 | 0.5 | 3.9 |",
            "| light | wt/test.txt | 245,568 | 68.9 | 4.0 |",
            "",
        ];
        assert_eq!(rows(evaluation(&texts).unwrap()), evaluations);
    }
}
