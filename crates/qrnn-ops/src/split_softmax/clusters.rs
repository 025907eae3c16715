//! How a split softmax divides the vocabulary.

use crate::matmul::aligned;

/// The clusters of a vocabulary whose ids are sorted by frequency: the head's tokens, then the tails.
#[derive(Debug, Clone)]
pub struct Clusters {
    pub(super) vocab: usize,
    /// First token of each tail, ascending.
    pub(super) borders: Vec<usize>,
    /// For each cluster, whether it has a projection; `None` if all clusters share one weight.
    projected: Option<Vec<bool>>,
}

/// Rows of an operand of a GPU's products ([`super::operands`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperandRows {
    /// Index of the operand.
    pub operand: usize,
    /// The first row.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
}

/// Consecutive classes of one softmax whose logits are products with the same hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Index of the hidden states.
    pub hidden: usize,
    /// The classes, with padding.
    pub classes: OperandRows,
}

impl Clusters {
    /// Clusters of `vocab` tokens that share one weight; `borders` are the first tokens of the tails, ascending.
    pub fn new(vocab: usize, borders: Vec<usize>) -> Self {
        Self { vocab, borders, projected: None }
    }

    /// The same clusters with a weight each, as of an adaptive softmax (Grave et al. 2017).
    ///
    /// * `projected`: for each cluster, whether its logits are products with a projection of the hidden states in
    ///   place of the hidden states.
    ///
    /// # Panics
    /// If there are not as many values as clusters.
    pub fn adaptive(self, projected: Vec<bool>) -> Self {
        assert_eq!(projected.len(), self.len(), "one value for each cluster");
        Self { projected: Some(projected), ..self }
    }

    /// Number of clusters: one more than tails.
    #[expect(clippy::len_without_is_empty, reason = "there is always a head")]
    pub fn len(&self) -> usize {
        self.tails() + 1
    }

    /// Number of tail clusters; 0 for a plain softmax.
    pub fn tails(&self) -> usize {
        self.borders.len()
    }

    /// Tokens in the head.
    pub fn head_size(&self) -> usize {
        self.borders.first().copied().unwrap_or(self.vocab)
    }

    /// First token and size of tail k, counted from 0.
    pub fn tail(&self, k: usize) -> (usize, usize) {
        let end = self.borders.get(k + 1).copied().unwrap_or(self.vocab);
        (self.borders[k], end - self.borders[k])
    }

    /// First token and size of a cluster: 0 is the head's tokens, k + 1 is tail k.
    pub fn cluster(&self, index: usize) -> (usize, usize) {
        index.checked_sub(1).map_or((0, self.head_size()), |k| self.tail(k))
    }

    /// Whether all clusters share one weight.
    pub fn share_weight(&self) -> bool {
        self.projected.is_none()
    }

    /// Whether a cluster has a projection.
    fn is_projected(&self, cluster: usize) -> bool {
        self.projected.as_ref().is_some_and(|projected| projected[cluster])
    }

    /// Index of a cluster's hidden states among those that the softmax gets: 0 is the hidden states themselves,
    /// which are followed by the projections to the clusters that have one.
    pub(super) fn hidden_of(&self, cluster: usize) -> usize {
        if self.is_projected(cluster) {
            1 + (0..cluster).filter(|before| self.is_projected(*before)).count()
        } else {
            0
        }
    }

    /// Whether the tombstones' logits are products with other hidden states than those of the head's tokens.
    pub(super) fn tombstones_are_separate(&self) -> bool {
        self.is_projected(0) && self.tails() > 0
    }

    /// The head's class of tail k. These tombstones follow the head's tokens, the first tail's last.
    pub(super) fn tombstone(&self, k: usize) -> usize {
        self.head_size() + self.tails() - 1 - k
    }

    /// Classes of the head.
    fn head_classes(&self) -> usize {
        self.head_size() + self.tails()
    }

    /// The head's class of the first tombstone on a GPU. The classes before it are padding, so that the head has an
    /// [`aligned`] number of classes.
    fn first_tombstone(&self) -> usize {
        let padded =
            if self.tombstones_are_separate() { self.tails() } else { self.head_classes() };
        padded_size(padded) - padded
    }

    /// The head's class of the first token on a GPU: the tokens follow the tombstones.
    pub(super) fn first_token(&self) -> usize {
        self.first_tombstone() + self.tails()
    }

    /// Rows of each operand of a GPU's products.
    ///
    /// Clusters that share a weight share an operand: padding, the tombstones, the tokens, padding, so that the
    /// head and the last tail have an [`aligned`] number of rows. Otherwise each cluster has an operand that is
    /// padded at the end; the head's begins with padding and the tombstones, or if they are separate, they have an
    /// operand, the last.
    pub(super) fn operand_sizes(&self) -> Vec<usize> {
        if self.share_weight() {
            let last = self.tails().checked_sub(1).map_or(self.head_rows(), |k| self.tail_rows(k));
            return vec![last.first + last.rows];
        }
        let mut sizes = vec![self.head_rows().rows];
        sizes.extend((0..self.tails()).map(|k| self.tail_rows(k).rows));
        if self.tombstones_are_separate() {
            sizes.push(padded_size(self.tails()));
        }
        sizes
    }

    /// The rows of the head's tokens in its operand, and of all that precedes them there.
    fn head_rows(&self) -> OperandRows {
        let rows = if self.tombstones_are_separate() {
            padded_size(self.head_size())
        } else {
            self.first_token() + self.head_size()
        };
        OperandRows { operand: 0, first: 0, rows }
    }

    fn tail_rows(&self, k: usize) -> OperandRows {
        let (first, size) = self.tail(k);
        if self.share_weight() {
            let is_last = k + 1 == self.tails();
            let rows = if is_last { padded_size(size) } else { size };
            return OperandRows { operand: 0, first: self.first_token() + first, rows };
        }
        OperandRows { operand: k + 1, first: 0, rows: padded_size(size) }
    }

    /// The blocks of the head's classes, in their order.
    pub(super) fn head_blocks(&self) -> Vec<Block> {
        let tokens = Block { hidden: self.hidden_of(0), classes: self.head_rows() };
        if !self.tombstones_are_separate() {
            return vec![tokens];
        }
        let (operand, rows) = (self.tails() + 1, padded_size(self.tails()));
        vec![Block { hidden: 0, classes: OperandRows { operand, first: 0, rows } }, tokens]
    }

    /// The classes of tail k.
    pub(super) fn tail_block(&self, k: usize) -> Block {
        Block { hidden: self.hidden_of(k + 1), classes: self.tail_rows(k) }
    }

    /// The rows of the tokens of weight `index` in an operand, without padding.
    pub fn token_rows(&self, index: usize) -> OperandRows {
        if self.share_weight() {
            return OperandRows { operand: 0, first: self.first_token(), rows: self.vocab };
        }
        let first = match index {
            0 if !self.tombstones_are_separate() => self.first_token(),
            _ => 0,
        };
        OperandRows { operand: index, first, rows: self.cluster(index).1 }
    }

    /// The rows of the tombstones in an operand, without padding.
    pub fn tombstone_rows(&self) -> OperandRows {
        let operand = if self.tombstones_are_separate() { self.tails() + 1 } else { 0 };
        OperandRows { operand, first: self.first_tombstone(), rows: self.tails() }
    }

    /// The tail of a token; `None` for the head.
    pub(super) fn tail_of(&self, token: usize) -> Option<usize> {
        self.borders.iter().rposition(|&border| token >= border)
    }
}

fn padded_size(size: usize) -> usize {
    aligned(size as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(operand: usize, first: usize, rows: usize) -> OperandRows {
        OperandRows { operand, first, rows }
    }

    #[test]
    fn the_entry_has_aligned_clusters() {
        let clusters = Clusters::new(267_735, vec![2800, 20_000, 76_000]);
        assert_eq!((clusters.first_tombstone(), clusters.first_token()), (5, 8));
        assert_eq!(clusters.head_blocks(), [Block { hidden: 0, classes: rows(0, 0, 2808) }]);
        let tails: Vec<_> = (0..3).map(|k| clusters.tail_block(k).classes).collect();
        assert_eq!(
            tails,
            [rows(0, 2808, 17_200), rows(0, 20_008, 56_000), rows(0, 76_008, 191_736)]
        );
        assert_eq!(clusters.operand_sizes(), [267_744]);
        assert_eq!(
            (clusters.token_rows(0), clusters.tombstone_rows()),
            (rows(0, 8, 267_735), rows(0, 5, 3))
        );
    }

    #[test]
    fn a_plain_softmax_has_one_aligned_head() {
        let clusters = Clusters::new(30, vec![]);
        assert_eq!((clusters.first_tombstone(), clusters.first_token()), (2, 2));
        assert_eq!(clusters.head_blocks(), [Block { hidden: 0, classes: rows(0, 0, 32) }]);
        assert_eq!(clusters.operand_sizes(), [32]);
    }

    #[test]
    fn clusters_of_different_widths_have_an_operand_each() {
        let clusters = Clusters::new(267_735, vec![3500, 25_000]);
        let wide = clusters.clone().adaptive(vec![false, true, true]);
        assert_eq!(wide.operand_sizes(), [3504, 21_504, 242_736]);
        assert_eq!(wide.head_blocks(), [Block { hidden: 0, classes: rows(0, 0, 3504) }]);
        assert_eq!((wide.tombstone_rows(), wide.token_rows(0)), (rows(0, 2, 2), rows(0, 4, 3500)));
        assert_eq!(wide.tail_block(1), Block { hidden: 2, classes: rows(2, 0, 242_736) });
        assert_eq!(wide.token_rows(2), rows(2, 0, 242_735));

        let narrow = clusters.adaptive(vec![true, true, false]);
        assert_eq!(narrow.operand_sizes(), [3504, 21_504, 242_736, 8]);
        let (tombstones, tokens) = (rows(3, 0, 8), rows(0, 0, 3504));
        let blocks =
            [(0, tombstones), (1, tokens)].map(|(hidden, classes)| Block { hidden, classes });
        assert_eq!(narrow.head_blocks(), blocks);
        assert_eq!((narrow.first_tombstone(), narrow.first_token()), (6, 8));
        assert_eq!(
            (narrow.tombstone_rows(), narrow.token_rows(0)),
            (rows(3, 6, 2), rows(0, 0, 3500))
        );
        assert_eq!((0..3).map(|cluster| narrow.hidden_of(cluster)).collect::<Vec<_>>(), [1, 2, 0]);
    }
}
