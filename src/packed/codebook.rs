//! Codebooks: k-means in one dimension (Lloyd 1982; exact by dynamic programming, Wang and Song 2011).

use super::grid::MAX_ENTRY;

/// Integers from -[`MAX_ENTRY`] to [`MAX_ENTRY`].
const LEVELS: usize = 2 * MAX_ENTRY as usize + 1;

/// How often each 8-bit integer occurs among the weights of a tensor.
pub(super) struct Histogram([u64; LEVELS]);

impl Histogram {
    pub fn new(codes: impl Iterator<Item = i32>) -> Self {
        let mut counts = [0; LEVELS];
        for code in codes {
            counts[level(code)] += 1;
        }
        Self(counts)
    }

    /// The at most `size` integers with the least squared distance to the weights, ascending.
    ///
    /// * `with_zero`: one of them is 0, for a tensor whose zeros are stored like other weights.
    ///   Otherwise none is: weights of value 0 are then not stored.
    pub fn book(&self, size: usize, with_zero: bool) -> Vec<i8> {
        let zero = level(0);
        if with_zero {
            let mut counts = self.0;
            counts[zero] = 0;
            let mut book = segments(&counts, size - 1);
            book.retain(|&entry| entry != 0);
            book.push(0);
            book.sort_unstable();
            return book;
        }
        let mut book = segments(&self.0, size);
        book.retain(|&entry| entry != 0);
        book
    }
}

fn level(code: i32) -> usize {
    (code + MAX_ENTRY) as usize
}

/// Divides the levels into at most `size` intervals with the least squared distance to their means; returns
/// the rounded means, ascending and without repetitions.
fn segments(counts: &[u64; LEVELS], size: usize) -> Vec<i8> {
    let used: Vec<usize> = (0..LEVELS).filter(|&level| counts[level] > 0).collect();
    let size = size.min(used.len());
    if size == 0 {
        return vec![];
    }
    // Sums of count, value and square over the used levels before each.
    let mut sums = vec![[0.0f64; 3]];
    for &level in &used {
        let (count, value) = (counts[level] as f64, level as f64 - f64::from(MAX_ENTRY));
        let last = sums[sums.len() - 1];
        sums.push([last[0] + count, last[1] + count * value, last[2] + count * value * value]);
    }
    let moments = |from: usize, to: usize| -> [f64; 3] {
        std::array::from_fn(|i| sums[to][i] - sums[from][i])
    };
    let cost = |from: usize, to: usize| {
        let [count, sum, squares] = moments(from, to);
        squares - sum * sum / count
    };
    // best[j][n]: the least cost of the first n used levels in j + 1 intervals; start: where the last begins.
    let n = used.len();
    let mut best = vec![vec![f64::INFINITY; n + 1]; size];
    let mut start = vec![vec![0; n + 1]; size];
    for (to, best) in best[0].iter_mut().enumerate().skip(1) {
        *best = cost(0, to);
    }
    for j in 1..size {
        for to in j + 1..=n {
            for from in j..to {
                let total = best[j - 1][from] + cost(from, to);
                if total < best[j][to] {
                    (best[j][to], start[j][to]) = (total, from);
                }
            }
        }
    }
    let mut entries = vec![];
    let mut to = n;
    for j in (0..size).rev() {
        let from = start[j][to];
        let [count, sum, _] = moments(from, to);
        entries.push((sum / count).round_ties_even() as i8);
        to = from;
    }
    entries.reverse();
    entries.dedup();
    entries
}

/// Index of the entry nearest to an integer; the lower one of two as near.
pub(super) fn nearest(book: &[i8], code: i32) -> usize {
    let distance = |&entry: &i8| (i32::from(entry) - code).abs();
    (0..book.len()).min_by_key(|&i| distance(&book[i])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn distance(codes: &[i32], book: &[i8]) -> i32 {
        let nearest = |&code: &i32| i32::from(book[nearest(book, code)]) - code;
        codes.iter().map(nearest).map(|difference| difference * difference).sum()
    }

    #[test]
    fn clusters_are_found() {
        let codes = [-90, -91, -89, 3, 4, 5, 100, 100, 101];
        let book = Histogram::new(codes.into_iter()).book(3, false);
        assert_eq!(book, [-90, 4, 100]);
        let with_zero = Histogram::new(codes.into_iter()).book(4, true);
        assert_eq!(with_zero, [-90, 0, 4, 100]);
    }

    #[test]
    fn fewer_values_than_entries_are_all_in_the_book() {
        let book = Histogram::new([5, -7, 5].into_iter()).book(16, false);
        assert_eq!(book, [-7, 5]);
        assert!(Histogram::new(std::iter::empty()).book(4, false).is_empty());
    }

    proptest! {
        /// No pair of other entries is better, tried one by one.
        #[test]
        fn two_entries_are_the_best_two(codes in prop::collection::vec(1i32..=12, 2..20)) {
            let book = Histogram::new(codes.iter().copied()).book(2, false);
            let ours = distance(&codes, &book);
            for a in 1..=12 {
                for b in a..=12 {
                    // Means are rounded to integers, which costs at most a quarter of a square per weight.
                    prop_assert!(ours <= distance(&codes, &[a, b]) + codes.len() as i32 / 4);
                }
            }
        }
    }
}
