//! How a split softmax divides the vocabulary.

use crate::matmul::aligned;

/// The clusters of a vocabulary whose ids are sorted by frequency.
#[derive(Debug, Clone)]
pub struct Clusters {
    pub(super) vocab: usize,
    /// First token of each tail, ascending.
    pub(super) borders: Vec<usize>,
}

impl Clusters {
    /// Clusters of `vocab` tokens; `borders` are the first tokens of the tails, ascending.
    pub fn new(vocab: usize, borders: Vec<usize>) -> Self {
        Self { vocab, borders }
    }

    /// Number of tail clusters; 0 for a plain softmax.
    pub fn tails(&self) -> usize {
        self.borders.len()
    }

    /// Tokens in the head.
    pub(super) fn head_size(&self) -> usize {
        self.borders.first().copied().unwrap_or(self.vocab)
    }

    /// First token and size of tail k, counted from 0.
    pub(super) fn tail(&self, k: usize) -> (usize, usize) {
        let end = self.borders.get(k + 1).copied().unwrap_or(self.vocab);
        (self.borders[k], end - self.borders[k])
    }

    /// The head's class of tail k. These tombstones follow the head's tokens, the first tail's last.
    pub(super) fn tombstone(&self, k: usize) -> usize {
        self.head_size() + self.tails() - 1 - k
    }

    /// Classes of the head.
    fn head_classes(&self) -> usize {
        self.head_size() + self.tails()
    }

    /// Row of the first tombstone in the operand of a GPU's products. The rows before it are padding, so that
    /// the head has an [`aligned`] number of rows.
    pub fn tombstones_row(&self) -> usize {
        aligned(self.head_classes() as i64) as usize - self.head_classes()
    }

    /// Row of the first token in that operand: the tokens follow the tombstones.
    pub fn tokens_row(&self) -> usize {
        self.tombstones_row() + self.tails()
    }

    /// Rows of that operand. Padding follows the tokens, so that the last tail has an [`aligned`] number of
    /// rows.
    pub(super) fn operand_rows(&self) -> usize {
        self.tails().checked_sub(1).map_or(self.head_rows(), |last| {
            let (first, rows) = self.tail_rows(last);
            first + rows
        })
    }

    /// Rows of the head in that operand, from the first on.
    pub(super) fn head_rows(&self) -> usize {
        self.tokens_row() + self.head_size()
    }

    /// First row and number of rows of tail k in that operand.
    pub(super) fn tail_rows(&self, k: usize) -> (usize, usize) {
        let (first, size) = self.tail(k);
        let is_last = k + 1 == self.tails();
        let rows = if is_last { aligned(size as i64) as usize } else { size };
        (self.tokens_row() + first, rows)
    }

    /// The tail of a token; `None` for the head.
    pub(super) fn tail_of(&self, token: usize) -> Option<usize> {
        self.borders.iter().rposition(|&border| token >= border)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_has_aligned_clusters() {
        let clusters = Clusters::new(267_735, vec![2800, 20_000, 76_000]);
        assert_eq!((clusters.tombstones_row(), clusters.tokens_row()), (5, 8));
        assert_eq!(clusters.head_rows(), 2808);
        let tails: Vec<_> = (0..3).map(|k| clusters.tail_rows(k)).collect();
        assert_eq!(tails, [(2808, 17_200), (20_008, 56_000), (76_008, 191_736)]);
        assert_eq!(clusters.operand_rows(), 267_744);
    }

    #[test]
    fn a_plain_softmax_has_one_aligned_head() {
        let clusters = Clusters::new(30, vec![]);
        assert_eq!((clusters.tombstones_row(), clusters.tokens_row()), (2, 2));
        assert_eq!((clusters.head_rows(), clusters.operand_rows()), (32, 32));
    }
}
