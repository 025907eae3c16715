//! The operation table of the entry, counted and published.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::paper::operation_counts::{FIGURES, OpRow, OpTable, count_ops};
use crate::paper::tables;

/// Published and counted operation table of the entry. Displays as aligned text, side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpTables {
    /// Published rows; the last is the total.
    pub published: Vec<OpRow>,
    /// Table counted by [`count_ops`].
    pub counted: OpTable,
}

impl OpTables {
    /// Returns both tables of the entry.
    pub fn of_entry() -> Self {
        let counted = count_ops(&tables::entry().config());
        Self { published: tables::OPERATIONS.to_vec(), counted }
    }

    /// The counted row of each published one, and both rows' figures.
    pub fn compared(&self) -> impl Iterator<Item = (&OpRow, [[f64; 2]; 4])> {
        self.counted.rows_and_total().filter_map(|counted| {
            let published = self.published.iter().find(|row| row.op == counted.op)?.figures();
            let figures = counted.figures();
            Some((counted, std::array::from_fn(|i| [figures[i], published[i]])))
        })
    }

    /// The scores in one line.
    pub fn scores(&self) -> String {
        format!(
            "MicroNet score {:.4} counted, {:.3} published, {:.4} on the leaderboard",
            self.counted.score,
            tables::SCORE,
            tables::LEADERBOARD_SCORE
        )
    }
}

impl fmt::Display for OpTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<13}", "op")?;
        for heading in FIGURES {
            write!(f, "  {heading:^21}")?;
        }
        let columns = format!("  {:>10} {:>10}", "counted", "published").repeat(FIGURES.len());
        writeln!(f, "\n{:13}{columns}", "")?;
        for (row, figures) in self.compared() {
            write!(f, "{:<13}", row.op)?;
            for [counted, published] in figures {
                write!(f, "  {counted:>10.3} {published:>10.3}")?;
            }
            writeln!(f)?;
        }
        write!(f, "{}", self.scores())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_and_published_numbers_are_side_by_side() {
        let text = OpTables::of_entry().to_string();
        assert!(text.contains("   156.857    156.857"), "{text}");
        let lengths: Vec<_> = text.lines().skip(1).take(5).map(str::len).collect();
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{text}");
    }
}
