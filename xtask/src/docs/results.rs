//! Tables of an experiment's results and differences, from the `results.json` of `reproduce`.

use std::fmt::Write;

use serde::Deserialize;

/// The row that was entered in the challenge.
const ENTRY: &str = "300-1800-300";

#[derive(Deserialize)]
struct Results {
    parameter_counts: Vec<Count>,
    rows: Vec<Row>,
    differences: Vec<Difference>,
}

#[derive(Deserialize)]
struct Count {
    name: String,
    counted: u64,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    published: Figures,
    measured: Option<Figures>,
}

#[derive(Deserialize)]
struct Figures {
    parameters: u64,
    test_ppl: f64,
    /// Over the seeds, if there are several.
    test_ppl_deviation: Option<f64>,
}

#[derive(Deserialize)]
struct Difference {
    first: String,
    second: String,
    seeds: usize,
    mean: f64,
    interval: [f64; 2],
    stands_out: bool,
    published: f64,
}

impl Figures {
    fn perplexity(&self) -> String {
        let deviation = self.test_ppl_deviation;
        let deviation = deviation.map_or_else(String::new, |value| format!(" ± {value:.2}"));
        format!("{:.2}{deviation}", self.test_ppl)
    }
}

/// The lines of the table: published figures and measured ones in columns of their own.
pub fn table(texts: &[String]) -> serde_json::Result<String> {
    let mut lines =
        "| row (emsize-nhid-bptt) | published parameters | counted | published test perplexity \
                     | measured: parameters | test perplexity |\n\
                     | --- | ---: | ---: | ---: | ---: | ---: |\n"
            .to_owned();
    for text in texts {
        let results: Results = serde_json::from_str(text)?;
        for row in results.rows {
            let counted = results.parameter_counts.iter().find(|count| count.name == row.name);
            let counted = counted.map_or_else(String::new, |count| thousands(count.counted));
            let mark = if row.name == ENTRY { " (the entry)" } else { "" };
            let (parameters, perplexity) = row.measured.map_or_else(Default::default, |measured| {
                (thousands(measured.parameters), measured.perplexity())
            });
            let _ = writeln!(
                lines,
                "| {}{mark} | {} | {counted} | {:.2} | {parameters} | {perplexity} |",
                row.name,
                thousands(row.published.parameters),
                row.published.test_ppl,
            );
        }
    }
    Ok(lines)
}

/// The lines of the differences between neighbouring models, published and measured.
pub fn differences(texts: &[String]) -> serde_json::Result<String> {
    let mut lines = "| models | published | measured | 95 % interval | seeds | stands out |\n\
                     | --- | ---: | ---: | ---: | ---: | --- |\n"
        .to_owned();
    for text in texts {
        let results: Results = serde_json::from_str(text)?;
        for difference in results.differences {
            let Difference { first, second, seeds, mean, interval, stands_out, published } =
                difference;
            let _ = writeln!(
                lines,
                "| {first} → {second} | {published:+.2} | {mean:+.2} | {:+.2} to {:+.2} | {seeds} | {} |",
                interval[0],
                interval[1],
                if stands_out { "yes" } else { "no" },
            );
        }
    }
    Ok(lines)
}

/// A number with a comma before each three digits.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_published_and_measured_figures_apart() {
        let row = r#"{"name": "NAME", "published": {"parameters": 104905335, "test_ppl": 34.7},
                      "measured": {"parameters": 372, "test_ppl": 46.555, "test_ppl_deviation": 0.306}}"#;
        let text = format!(
            r#"{{"parameter_counts": [{{"name": "{ENTRY}", "counted": 104905335}}],
                 "rows": [{}, {}, {}], "differences": []}}"#,
            row.replace("NAME", ENTRY),
            row.replace("NAME", "one seed").replace("0.306", "null"),
            r#"{"name": "a", "published": {"parameters": 1000, "test_ppl": 1}, "measured": null}"#
        );
        let lines = table(&[text]).unwrap();
        let rows: Vec<&str> = lines.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| 300-1800-300 (the entry) | 104,905,335 | 104,905,335 | 34.70 | 372 | 46.55 ± 0.31 |",
                "| one seed | 104,905,335 |  | 34.70 | 372 | 46.55 |",
                "| a | 1,000 |  | 1.00 |  |  |",
            ]
        );
    }

    #[test]
    fn a_difference_shows_its_interval() {
        let difference = r#"{"between": "lengths", "first": "50", "second": "140", "seeds": 5, "mean": -2.204,
                             "interval": [-3.1, 0.25], "stands_out": false, "published": -3.2}"#;
        let text =
            format!(r#"{{"parameter_counts": [], "rows": [], "differences": [{difference}]}}"#);
        let lines = differences(&[text]).unwrap();
        let row = "| 50 → 140 | -3.20 | -2.20 | -3.10 to +0.25 | 5 | no |";
        assert_eq!(lines.lines().skip(2).collect::<Vec<_>>(), [row]);
    }

    #[test]
    fn digits_are_parted_by_threes() {
        let shown = [0, 999, 1000, 153_886_638].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "153,886,638"]);
    }
}
