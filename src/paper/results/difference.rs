//! Differences between neighbouring rows and lengths, paired over seeds.

use serde::{Deserialize, Serialize};

use super::measured::Measured;
use super::rows::{LengthResult, RowResult};
use super::statistics::{half_interval, mean};
use crate::paper::tables::{self, PublishedRow};

/// Published lengths between which the perplexity falls, and from which on it stays.
const FALL: [usize; 2] = [50, 140];
const PLATEAU: [usize; 2] = [140, 200];

/// The difference in test perplexity between two models, over the seeds that both were trained with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// What is compared.
    pub between: Between,
    /// Names of the two rows, or the two sequence lengths.
    pub first: String,
    pub second: String,
    /// Number of seeds.
    pub seeds: usize,
    /// Mean over the seeds of the second model's perplexity minus the first's.
    pub mean: f64,
    /// Interval that contains the true difference with 95 % probability, by a paired t test.
    pub interval: [f64; 2],
    /// Whether the interval excludes 0.
    pub stands_out: bool,
    /// Published difference.
    pub published: f64,
}

/// What a [`Difference`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Between {
    Rows,
    Lengths,
}

/// The differences of neighbours: rows that follow each other in the published table, or in size among the rows of
/// one sequence length; lengths that follow each other in the figure, or that end its fall or its flat part.
/// Pairs with fewer than two common seeds are left out.
pub(super) fn differences(rows: &[RowResult], lengths: &[LengthResult]) -> Vec<Difference> {
    let of_rows = row_pairs().into_iter().filter_map(|(first, second)| {
        let find = |name: &str| rows.iter().find(|row| row.name == name);
        let (first, second) = (find(first)?, find(second)?);
        Difference::new(
            (Between::Rows, &first.name, &second.name),
            [first.measured.as_ref()?, second.measured.as_ref()?],
            second.published.test_ppl - first.published.test_ppl,
        )
    });
    let of_lengths = length_pairs().into_iter().filter_map(|[first, second]| {
        let find = |bptt| lengths.iter().find(|length| length.published.bptt == bptt);
        let (first, second) = (find(first)?, find(second)?);
        let [a, b] = [first, second].map(|length| length.published.bptt.to_string());
        Difference::new(
            (Between::Lengths, &a, &b),
            [first.measured.as_ref()?, second.measured.as_ref()?],
            second.published.ppl - first.published.ppl,
        )
    });
    of_rows.chain(of_lengths).collect()
}

fn row_pairs() -> Vec<(&'static str, &'static str)> {
    let rows = &tables::ROWS;
    let mut pairs: Vec<_> = rows.windows(2).map(|pair| (pair[0].name, pair[1].name)).collect();
    for row in rows {
        let PublishedRow { bptt, parameters, .. } = row.published;
        let smaller = rows
            .iter()
            .filter(|other| other.published.bptt == bptt && other.published.parameters < parameters)
            .max_by_key(|other| other.published.parameters);
        if let Some(smaller) = smaller
            && !pairs.contains(&(row.name, smaller.name))
        {
            pairs.push((row.name, smaller.name));
        }
    }
    pairs
}

fn length_pairs() -> Vec<[usize; 2]> {
    let lengths = tables::LENGTHS.map(|length| length.bptt);
    let mut pairs: Vec<[usize; 2]> = lengths.windows(2).map(|pair| [pair[0], pair[1]]).collect();
    pairs.extend([FALL, PLATEAU]);
    pairs
}

impl Difference {
    /// `None` for fewer than two common seeds.
    fn new(
        (between, first, second): (Between, &str, &str),
        measured: [&Measured; 2],
        published: f64,
    ) -> Option<Self> {
        let [a, b] = measured.map(|measured| &measured.runs);
        let differences: Vec<f64> = b
            .iter()
            .filter_map(|run| {
                let other = a.iter().find(|other| other.seed == run.seed)?;
                Some(run.test_ppl - other.test_ppl)
            })
            .collect();
        let half = half_interval(&differences)?;
        let mean = mean(&differences);
        let interval = [mean - half, mean + half];
        let stands_out = interval[0] > 0.0 || interval[1] < 0.0;
        let (first, second) = (first.to_owned(), second.to_owned());
        let seeds = differences.len();
        Some(Self { between, first, second, seeds, mean, interval, stands_out, published })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper::results::SeedRun;

    fn measured(test_ppls: &[(u64, f64)]) -> Measured {
        let run = |&(seed, test_ppl): &(u64, f64)| SeedRun {
            test_ppl,
            ..Measured { test_ppl, ..Measured::default() }.of_seed(seed, None)
        };
        Measured::over_seeds(Measured::default(), test_ppls.iter().map(run).collect())
    }

    fn row(name: &str, test_ppls: &[(u64, f64)]) -> RowResult {
        let published = tables::row(name).unwrap().published;
        RowResult { name: name.into(), published, measured: Some(measured(test_ppls)) }
    }

    #[test]
    fn differences_pair_the_same_seeds() {
        let rows = [
            // A shift common to both rows cancels out.
            row("300-2000-140", &[(1, 40.0), (2, 50.0), (3, 60.0)]),
            row("300-1500-140", &[(3, 61.1), (1, 41.0), (2, 50.9), (7, 99.0)]),
        ];
        let [difference] = &differences(&rows, &[])[..] else { panic!() };
        assert_eq!((difference.seeds, difference.between), (3, Between::Rows));
        assert!((difference.mean - 1.0).abs() < 1e-9 && difference.stands_out, "{difference:?}");
        // 4.303 × 0.1 / sqrt(3)
        let half = (difference.interval[1] - difference.interval[0]) / 2.0;
        assert!((half - 0.2484).abs() < 1e-4, "{half}");
        assert!((difference.published - 2.15).abs() < 1e-9);
    }

    #[test]
    fn one_common_seed_gives_no_difference() {
        let rows =
            [row("300-2000-140", &[(1, 40.0), (2, 41.0)]), row("300-1500-140", &[(2, 42.0)])];
        assert_eq!(differences(&rows, &[]), []);
    }

    #[test]
    fn rows_of_one_length_are_compared_by_size() {
        let pairs = row_pairs();
        for pair in [
            ("400-2500-140", "300-2000-140"),
            ("300-2000-140", "300-1750-140"),
            ("300-1750-140", "300-1500-140"),
            ("300-2000-200", "300-1850-200"),
        ] {
            assert_eq!(pairs.iter().filter(|other| **other == pair).count(), 1, "{pair:?}");
        }
        assert!(length_pairs().contains(&[50, 140]) && length_pairs().contains(&[50, 70]));
    }
}
