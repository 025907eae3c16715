//! Tables of the benches, from what `cargo xtask bench BENCH --json` prints, stored in
//! `crates/qrnn-bench/runs/DATE-MACHINE/BENCH.json`.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Result, Value};

use super::results::thousands;

#[derive(Deserialize)]
struct Run {
    command: String,
    device: String,
    measurements: Vec<Value>,
}

impl Run {
    fn all<T: DeserializeOwned>(&self, what: &str) -> Result<Vec<T>> {
        let of = |measurement: &&Value| measurement["what"] == what;
        self.measurements.iter().filter(of).map(T::deserialize).collect()
    }
}

/// A table with a line of this head, the rows of each run, and how each was measured.
fn table(
    texts: &[String],
    head: &str,
    rows: impl Fn(&Run) -> Result<Vec<String>>,
) -> Result<String> {
    let columns = head.matches('|').count() - 1;
    let mut lines = format!("{head}\n|{}\n", " --- |".repeat(columns));
    let mut sources = String::new();
    for text in texts {
        let run: Run = serde_json::from_str(text)?;
        for row in rows(&run)? {
            let _ = writeln!(lines, "| {row} |");
        }
        let _ = writeln!(sources, "`{}` on {}.", run.command, run.device);
    }
    Ok(format!("{lines}\n{sources}"))
}

#[derive(Deserialize)]
struct Step {
    model: String,
    format: String,
    seconds: f64,
    words_per_second: f64,
    times_the_floor: f64,
    share_in_products: f64,
    peak_bytes: f64,
    peers: Vec<Peer>,
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
struct Peer {
    peer: String,
    /// None if it failed.
    ratio: Option<f64>,
}

#[derive(Deserialize)]
struct Stage {
    stage: String,
    seconds: f64,
}

/// How many times as long a peer takes.
fn ratio(peers: &[Peer], name: &str) -> String {
    let ratio = peers.iter().find(|peer| peer.peer == name).and_then(|peer| peer.ratio);
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2} times as long"))
}

pub fn steps(texts: &[String]) -> Result<String> {
    let head = "| emsize-nhid-softmax | precision | tokens/s | PyTorch in fp32 | PyTorch in bf16 \
                | matrix products' share | times the lower bound | peak memory |";
    table(texts, head, |run| {
        let row = |step: Step| {
            format!(
                "{} | {} | {} | {} | {} | {:.0} % | {:.2} | {:.2} GB",
                step.model,
                step.format,
                thousands(step.words_per_second as u64),
                ratio(&step.peers, "fp32"),
                ratio(&step.peers, "bf16"),
                100.0 * step.share_in_products,
                step.times_the_floor,
                step.peak_bytes / 1e9,
            )
        };
        Ok(run.all("training step")?.into_iter().map(row).collect())
    })
}

/// A row per model and precision, and a column per stage that takes at least 0.05 ms in one of them.
pub fn stages(texts: &[String]) -> Result<String> {
    let mut longest = BTreeMap::<String, f64>::new();
    for text in texts {
        let steps: Vec<Step> = serde_json::from_str::<Run>(text)?.all("training step")?;
        for stage in steps.into_iter().flat_map(|step| step.stages) {
            let longest = longest.entry(stage.stage).or_default();
            *longest = longest.max(stage.seconds);
        }
    }
    let mut names: Vec<_> = longest.into_iter().filter(|(_, seconds)| *seconds >= 5e-5).collect();
    names.sort_by(|a, b| b.1.total_cmp(&a.1));
    let head: String = names.iter().map(|(name, _)| format!(" {name} |")).collect();
    table(texts, &format!("| ms | whole step |{head}"), |run| {
        let row = |step: Step| {
            let of = |name: &String| step.stages.iter().find(|stage| stage.stage == *name);
            let seconds = names.iter().map(|(name, _)| of(name).map_or(0.0, |stage| stage.seconds));
            let cells: String = seconds.map(|seconds| format!(" | {:.1}", 1e3 * seconds)).collect();
            format!("{} {} | {:.1}{cells}", step.model, step.format, 1e3 * step.seconds)
        };
        Ok(run.all("training step")?.into_iter().map(row).collect())
    })
}

#[derive(Deserialize)]
struct Pooling {
    size: [u64; 3],
    kind: String,
    seconds: f64,
    times_the_floor: f64,
    against: String,
    ratio: f64,
}

pub fn pooling(texts: &[String]) -> Result<String> {
    let head = "| fo-pooling | (seq, batch, hidden) | format | ms | times its bytes at the copy's bandwidth \
                | other implementation |";
    table(texts, head, |run| {
        let mut rows = vec![];
        for what in ["forward", "forward and backward"] {
            for one in run.all::<Pooling>(what)? {
                rows.push(format!(
                    "{what} | {:?} | {} | {:.2} | {:.2} | {}: {:.1} times as long",
                    one.size,
                    one.kind,
                    1e3 * one.seconds,
                    one.times_the_floor,
                    one.against,
                    one.ratio,
                ));
            }
        }
        Ok(rows)
    })
}

#[derive(Deserialize)]
struct Evaluation {
    format: String,
    tokens: u64,
    seconds: f64,
    share_in_products: f64,
    peers: Vec<Peer>,
}

pub fn evaluations(texts: &[String]) -> Result<String> {
    let head = "| precision | tokens | seconds | PyTorch in fp32 | matrix products' share |";
    table(texts, head, |run| {
        let row = |one: Evaluation| {
            format!(
                "{} | {} | {:.1} | {} | {:.0} %",
                one.format,
                thousands(one.tokens),
                one.seconds,
                ratio(&one.peers, "fp32"),
                100.0 * one.share_in_products,
            )
        };
        Ok(run.all("evaluation of the entry")?.into_iter().map(row).collect())
    })
}

#[derive(Deserialize)]
struct Reading {
    what: String,
    seconds: f64,
    bytes_per_second: Option<f64>,
    peak_bytes: Option<f64>,
    ratio: Option<f64>,
}

pub fn corpus(texts: &[String]) -> Result<String> {
    table(texts, "| | seconds | MB/s | |", |run| {
        let row = |value: &Value| {
            let one = Reading::deserialize(value)?;
            let name = match one.what.as_str() {
                "text to ids" => "text to tokens",
                "text to ids, kept in a file" => "text to tokens, stored in a file",
                "reopened" => "reopening the file, every byte verified",
                other => other,
            };
            let speed =
                one.bytes_per_second.map_or_else(String::new, |n| format!("{:.0}", n / 1e6));
            let peak = one.peak_bytes.map(|bytes| format!("peak memory {:.2} GB", bytes / 1e9));
            let ratio = one.ratio.map(|ratio| format!("{ratio:.1} times as long"));
            let more = peak.or(ratio).unwrap_or_default();
            Ok(format!("{name} | {:.3} | {speed} | {more}", one.seconds))
        };
        run.measurements.iter().map(row).collect()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(measurements: Value) -> [String; 1] {
        let command = "cargo xtask bench a --json";
        [json!({"command": command, "device": "the CPU", "measurements": measurements}).to_string()]
    }

    /// The rows of a table, and what follows them.
    fn rows(table: &str) -> (Vec<&str>, &str) {
        let (table, sources) = table.split_once("\n\n").unwrap();
        (table.lines().skip(2).collect(), sources)
    }

    #[test]
    fn a_step_has_a_row_with_its_baselines_and_one_with_its_stages() {
        let step = json!({"what": "training step", "model": "8-12-split", "format": "fp32",
            "seconds": 0.0125, "words_per_second": 1234.5, "times_the_floor": 1.5,
            "share_in_products": 0.5, "peak_bytes": 2.5e9,
            "peers": [{"peer": "fp32", "ratio": 3.0}, {"peer": "bf16", "failed": "why"}],
            "stages": [{"stage": "short", "seconds": 1e-5}, {"stage": "optimizer", "seconds": 2e-3},
                {"stage": "matrix products", "seconds": 6e-3}]});
        let run = run(json!([{"what": "copy", "seconds": 1.0}, step]));
        let table = steps(&run).unwrap();
        let row = "| 8-12-split | fp32 | 1,234 | 3.00 times as long |  | 50 % | 1.50 | 2.50 GB |";
        assert_eq!(rows(&table), (vec![row], "`cargo xtask bench a --json` on the CPU.\n"));
        let table = stages(&run).unwrap();
        assert!(
            table.starts_with("| ms | whole step | matrix products | optimizer |\n"),
            "{table}"
        );
        assert_eq!(rows(&table).0, ["| 8-12-split fp32 | 12.5 | 6.0 | 2.0 |"]);
    }

    #[test]
    fn pooling_and_evaluations_have_a_row_for_each_measurement() {
        let pool = json!({"what": "forward", "size": [1, 2, 3], "kind": "bf16", "seconds": 1e-3,
            "times_the_floor": 2.0, "against": "a loop", "ratio": 10.0});
        let row = "| forward | [1, 2, 3] | bf16 | 1.00 | 2.00 | a loop: 10.0 times as long |";
        assert_eq!(rows(&pooling(&run(json!([pool]))).unwrap()).0, [row]);
        let evaluation = json!({"what": "evaluation of the entry", "format": "bf16",
            "tokens": 14000, "seconds": 1.25, "share_in_products": 0.955,
            "peers": [{"peer": "fp32", "ratio": 5.0}]});
        let row = "| bf16 | 14,000 | 1.2 | 5.00 times as long | 96 % |";
        assert_eq!(rows(&evaluations(&run(json!([evaluation]))).unwrap()).0, [row]);
    }

    #[test]
    fn reading_a_corpus_has_its_speed_and_its_memory() {
        let all = json!([{"what": "text to ids", "seconds": 1.0, "bytes_per_second": 5e8,
            "peak_bytes": 9e8}, {"what": "two passes of Python", "seconds": 40.0, "ratio": 40.0}]);
        let expected = [
            "| text to tokens | 1.000 | 500 | peak memory 0.90 GB |",
            "| two passes of Python | 40.000 |  | 40.0 times as long |",
        ];
        assert_eq!(rows(&corpus(&run(all)).unwrap()).0, expected);
    }
}
