//! Tables of groups of processes, from `cargo xtask bench group --record FILE`.

use serde::Deserialize;
use serde_json::Result;

use super::bench::{Grid, Records, milliseconds, tables};
use super::results::thousands;

/// Sums of a tensor over processes of one machine.
#[derive(Deserialize)]
struct Sum {
    of: String,
    variant: String,
    against: String,
    ranks: u32,
    bytes: f64,
    seconds: f64,
    middle_half: [f64; 2],
    ratio: f64,
}

/// Training by several processes of one thread.
#[derive(Deserialize)]
struct Training {
    of: String,
    against: String,
    model: String,
    text: String,
    pairs: u32,
    tokens_per_second: f64,
    against_tokens_per_second: f64,
    ratio: f64,
    middle_half_of_ratios: [f64; 2],
}

/// What the table of sums is about: the gradients of the entry.
const GRADIENTS: &str = "420 MB";

/// What c10d does by default.
const C10D: &str = "1 connection, not cut";

/// Ways to sum the gradients of the entry.
pub fn sums(texts: &[String]) -> Result<String> {
    let head =
        ["420 MB, 2 processes", "ms (middle half)", "GB/s", "times as fast as by c10d's default"];
    tables(texts, "group", |records: &Records| {
        let sums: Vec<Sum> = records.all("all-reduce")?;
        let row = |sum: &Sum| {
            let [middle, low, high] =
                [sum.seconds, sum.middle_half[0], sum.middle_half[1]].map(milliseconds);
            let speed = format!("{:.2}", sum.bytes / sum.seconds / 1e9);
            let time = format!("{middle} ({low} to {high})");
            vec![sum.variant.clone(), time, speed, format!("{:.2}", sum.ratio)]
        };
        let fits = |sum: &&Sum| sum.of == GRADIENTS && sum.ranks == 2 && sum.against == C10D;
        let rows = sums.iter().filter(fits).map(row).collect();
        Ok(grid(&head, rows))
    })
}

/// Training by processes, compared with one.
pub fn training(texts: &[String]) -> Result<String> {
    let head = ["model, text", "tokens/s", "tokens/s", "ratio, median of pairs (middle half)"];
    tables(texts, "group", |records: &Records| {
        let rate = |tokens: f64| thousands(tokens.round() as u64);
        let row = |training: &Training| {
            let [low, high] = training.middle_half_of_ratios;
            vec![
                format!("{}, {}", training.model, training.text),
                format!("{}: {}", training.of, rate(training.tokens_per_second)),
                format!("{}: {}", training.against, rate(training.against_tokens_per_second)),
                format!("{:.3} of {} ({low:.3} to {high:.3})", training.ratio, training.pairs),
            ]
        };
        let all: Vec<Training> = records.all("training")?;
        Ok(grid(&head, all.iter().map(row).collect()))
    })
}

fn grid(head: &[&str], rows: Grid) -> Grid {
    let head = head.iter().map(|cell| cell.to_string()).collect();
    [vec![head], rows].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_sum_and_each_training_has_a_line() {
        let texts = [[
            r#"{"bench": "group", "device": "a machine", "what": "all-reduce", "of": "420 MB", "variant": "4 connections",
                "ranks": 2, "against": "1 connection, not cut",
                "bytes": 420e6, "seconds": 0.21, "middle_half": [0.2, 0.25], "ratio": 1.437}"#,
            r#"{"bench": "group", "device": "a machine", "what": "all-reduce", "of": "420 MB", "variant": "4 connections",
                "ranks": 3, "against": "1 connection, not cut",
                "bytes": 420e6, "seconds": 0.001, "middle_half": [0.001, 0.002], "ratio": 0.9}"#,
            r#"{"bench": "group", "device": "a machine", "what": "training", "of": "2 processes", "against": "1 process",
                "model": "8-12", "text": "a text", "pairs": 5, "tokens_per_second": 6064.6, "ratio": 0.9508,
                "against_tokens_per_second": 6443.4, "middle_half_of_ratios": [0.93, 0.976]}"#,
        ]
        .map(|record| record.replace('\n', ""))
        .join("\n")];
        let rows = |lines: String| lines.lines().skip(5).map(String::from).collect::<Vec<_>>();
        assert_eq!(
            rows(sums(&texts).unwrap()),
            ["| 4 connections | 210.00 (200.00 to 250.00) | 2.00 | 1.44 |", "",]
        );
        assert_eq!(
            rows(training(&texts).unwrap()),
            [
                "| 8-12, a text | 2 processes: 6,065 | 1 process: 6,443 | 0.951 of 5 (0.930 to 0.976) |",
                ""
            ]
        );
    }
}
