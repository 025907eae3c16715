//! Tables of the benches, from the files of `cargo xtask bench BENCH --record FILE`: one for each device,
//! with a column for each implementation that was measured beside ours.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Result, Value};

use super::results::thousands;

/// The fields that name a measurement of a bench. A later record of the same one replaces an earlier one.
const NAMES: [&str; 11] =
    ["device", "what", "of", "model", "format", "size", "kind", "peer", "variant", "text", "ranks"];

/// The lines of a table; the first one is its head.
pub(super) type Grid = Vec<Vec<String>>;

/// The records of a device.
pub(super) struct Records(Vec<Value>);

impl Records {
    pub fn all<T: DeserializeOwned>(&self, what: &str) -> Result<Vec<T>> {
        let of = |record: &&Value| record["what"] == what;
        self.0.iter().filter(of).map(T::deserialize).collect()
    }

    /// The other implementations of one of these kinds of work.
    fn peers(&self, of: &[&str]) -> Result<Peers> {
        let mut peers: Vec<Peer> = self.all("peer")?;
        peers.retain(|peer| of.contains(&peer.of.as_str()));
        let mut labels = vec![];
        for Peer { against, .. } in &peers {
            if !labels.contains(against) {
                labels.push(against.clone());
            }
        }
        Ok(Peers { peers, labels })
    }
}

struct Peers {
    peers: Vec<Peer>,
    /// The head of the column of each.
    labels: Vec<String>,
}

#[derive(Deserialize)]
struct Peer {
    of: String,
    against: String,
    model: Option<String>,
    size: Option<[u64; 3]>,
    kind: Option<String>,
    ratio: Option<f64>,
    /// To each precision of ours.
    #[serde(default)]
    ratios: BTreeMap<String, Option<f64>>,
}

impl Peers {
    /// How many times as long each takes.
    fn cells(&self, ratio: impl Fn(&Peer) -> Option<f64>) -> Vec<String> {
        let cell = |label: &String| {
            let of_label = self.peers.iter().filter(|peer| peer.against == *label);
            let ratio = of_label.filter_map(&ratio).last();
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.2} times as long"))
        };
        self.labels.iter().map(cell).collect()
    }
}

/// The tables of all devices that ran this bench.
pub(super) fn tables(
    texts: &[String],
    bench: &str,
    grid: impl Fn(&Records) -> Result<Grid>,
) -> Result<String> {
    let mut all: Vec<Value> = vec![];
    for line in texts.iter().flat_map(|text| text.lines()) {
        let record: Value = serde_json::from_str(line)?;
        if record["bench"] == bench && record["failed"].is_null() {
            let same = |other: &Value| NAMES.iter().all(|name| other[*name] == record[*name]);
            match all.iter_mut().find(|other| same(other)) {
                Some(earlier) => *earlier = record,
                None => all.push(record),
            }
        }
    }
    let mut lines = String::new();
    while let Some(first) = all.first() {
        let device = first["device"].clone();
        let (records, others) = all.into_iter().partition(|record| record["device"] == device);
        all = others;
        let grid = grid(&Records(records))?;
        if grid.len() > 1 {
            let device = device.as_str().unwrap_or("an unknown device");
            lines += &format!("\nMeasured on {device}:\n\n{}", markdown(&grid));
        }
    }
    Ok(if lines.is_empty() { lines } else { lines + "\n" })
}

/// Columns without figures are left out.
fn markdown(grid: &Grid) -> String {
    let empty = |column: usize| grid[1..].iter().all(|cells| cells[column].is_empty());
    let columns: Vec<usize> = (0..grid[0].len()).filter(|column| !empty(*column)).collect();
    let line = |cells: &Vec<String>| {
        let cells: Vec<&str> = columns.iter().map(|column| cells[*column].as_str()).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut lines: Vec<String> = grid.iter().map(line).collect();
    lines.insert(1, format!("| ---{} |\n", " | ---:".repeat(columns.len() - 1)));
    lines.concat()
}

/// `by`: what all peers are made with.
fn head(columns: &[&str], by: &str, peers: &Peers) -> Grid {
    let columns = columns.iter().map(|column| column.to_string());
    vec![columns.chain(peers.labels.iter().map(|label| format!("{by}{label}"))).collect()]
}

pub(super) fn milliseconds(seconds: f64) -> String {
    let digits = if seconds < 1e-3 { 3 } else { 2 };
    format!("{:.digits$}", 1e3 * seconds)
}

fn duration(minutes: f64) -> String {
    let hours = minutes / 60.0;
    if hours < 10.0 { format!("{minutes:.0} min") } else { format!("{hours:.0} h") }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn or_empty<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(String::new, text)
}

#[derive(Deserialize)]
struct Step {
    model: String,
    format: String,
    words: f64,
    seconds: f64,
    words_per_second: f64,
    minutes_for_20_epochs: f64,
    times_the_floor: Option<f64>,
    peak_bytes: Option<f64>,
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
struct Stage {
    stage: String,
    seconds: f64,
    /// Of the machine's limit; none for a stage without known work.
    #[serde(alias = "share_of_rate", alias = "share_of_bandwidth")]
    share: Option<f64>,
}

impl Step {
    /// Seconds of a profiled step: its stages are measured in other steps than the whole.
    fn profiled_seconds(&self) -> f64 {
        let stages: f64 = self.stages.iter().map(|stage| stage.seconds).sum();
        stages.max(self.seconds)
    }

    fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.stage == name)
    }
}

pub fn steps(texts: &[String]) -> Result<String> {
    tables(texts, "step", |records| {
        let peers = records.peers(&["training step"])?;
        let columns = ["emsize-nhid-softmax", "precision", "tokens of a step", "tokens/s"];
        let more = [
            "20 epochs of WikiText-103",
            "matrix products' share",
            "times the lower bound",
            "peak memory",
        ];
        let mut grid = head(&[&columns[..], &more].concat(), "PyTorch: ", &peers);
        for step in records.all::<Step>("training step")? {
            let products =
                step.stage("matrix products").map(|stage| stage.seconds / step.profiled_seconds());
            let mut row = vec![
                step.model.clone(),
                step.format.clone(),
                thousands(step.words as u64),
                thousands(step.words_per_second as u64),
                duration(step.minutes_for_20_epochs),
                or_empty(products, percent),
                or_empty(step.times_the_floor, |times| format!("{times:.2}")),
                or_empty(step.peak_bytes, |bytes| format!("{:.2} GB", bytes / 1e9)),
            ];
            row.extend(peers.cells(|peer| {
                let same_model = peer.model.as_ref() == Some(&step.model);
                peer.ratios.get(&step.format).copied().flatten().filter(|_| same_model)
            }));
            grid.push(row);
        }
        Ok(grid)
    })
}

/// A column for each model and precision, and a line for each stage that takes 0.01 ms in one of them.
pub fn stages(texts: &[String]) -> Result<String> {
    tables(texts, "step", |records| {
        let steps: Vec<Step> = records.all("training step")?;
        let mut longest = BTreeMap::<&str, f64>::new();
        for stage in steps.iter().flat_map(|step| &step.stages) {
            let longest = longest.entry(&stage.stage).or_default();
            *longest = longest.max(stage.seconds);
        }
        let mut names: Vec<_> =
            longest.into_iter().filter(|(_, longest)| *longest >= 1e-5).collect();
        names.sort_by(|a, b| b.1.total_cmp(&a.1));
        let row = |name: &str, cell: &dyn Fn(&Step) -> String| {
            [name.to_owned()].into_iter().chain(steps.iter().map(cell)).collect()
        };
        let mut grid = vec![
            row("ms", &|step| format!("{} {}", step.model, step.format)),
            row("whole step", &|step| milliseconds(step.seconds)),
        ];
        for (name, _) in names {
            let cell = |stage: &Stage| {
                let share = or_empty(stage.share, |share| format!(" ({})", percent(share)));
                milliseconds(stage.seconds) + &share
            };
            grid.push(row(name, &|step| or_empty(step.stage(name), cell)));
        }
        Ok(if steps.is_empty() { vec![] } else { grid })
    })
}

#[derive(Deserialize)]
struct Pooling {
    what: String,
    size: [u64; 3],
    kind: String,
    seconds: f64,
    share_of_bandwidth: f64,
}

pub fn pooling(texts: &[String]) -> Result<String> {
    tables(texts, "pool", |records| {
        let passes = ["forward", "forward and backward"];
        let peers = records.peers(&passes)?;
        let columns =
            ["fo-pooling", "(seq, batch, hidden)", "precision", "ms", "of the copy's bandwidth"];
        let mut grid = head(&columns, "", &peers);
        for pass in passes {
            for pooling in records.all::<Pooling>(pass)? {
                let [seq, batch, hidden] = pooling.size;
                let mut row = vec![
                    pooling.what.clone(),
                    format!("({seq}, {batch}, {hidden})"),
                    pooling.kind.clone(),
                    milliseconds(pooling.seconds),
                    percent(pooling.share_of_bandwidth),
                ];
                row.extend(peers.cells(|peer| {
                    let same = peer.of == pooling.what
                        && peer.size == Some(pooling.size)
                        && peer.kind.as_ref() == Some(&pooling.kind);
                    peer.ratio.filter(|_| same)
                }));
                grid.push(row);
            }
        }
        Ok(grid)
    })
}

#[derive(Deserialize)]
struct Evaluation {
    format: String,
    tokens: u64,
    seconds: f64,
    share_in_products: Option<f64>,
}

pub fn evaluations(texts: &[String]) -> Result<String> {
    const WHAT: &str = "evaluation of the entry";
    tables(texts, "evaluate", |records| {
        let peers = records.peers(&[WHAT])?;
        let columns = ["precision", "tokens", "seconds", "matrix products' share"];
        let mut grid = head(&columns, "PyTorch: ", &peers);
        for one in records.all::<Evaluation>(WHAT)? {
            let (tokens, seconds) = (thousands(one.tokens), format!("{:.2}", one.seconds));
            let share = or_empty(one.share_in_products, percent);
            let mut row = vec![one.format.clone(), tokens, seconds, share];
            row.extend(peers.cells(|peer| peer.ratios.get(&one.format).copied().flatten()));
            grid.push(row);
        }
        Ok(grid)
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
    tables(texts, "corpus", |records| {
        let columns = ["", "seconds", "MB/s", "peak memory", "times as long"];
        let mut grid = vec![columns.map(String::from).to_vec()];
        for record in &records.0 {
            let one = Reading::deserialize(record)?;
            let name = match one.what.as_str() {
                "text to ids" => "text to tokens",
                "text to ids, kept in a file" => "text to tokens, stored in a file",
                "reopened" => "reopening the file, every byte verified",
                other => other,
            };
            grid.push(vec![
                name.to_owned(),
                format!("{:.3}", one.seconds),
                or_empty(one.bytes_per_second, |speed| format!("{:.0}", speed / 1e6)),
                or_empty(one.peak_bytes, |bytes| format!("{:.2} GB", bytes / 1e9)),
                or_empty(one.ratio, |ratio| format!("{ratio:.1}")),
            ]);
        }
        Ok(grid)
    })
}

#[cfg(test)]
mod tests;
