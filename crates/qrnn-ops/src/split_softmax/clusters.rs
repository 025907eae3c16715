//! How a split softmax divides the vocabulary.

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

    /// The tail of a token; `None` for the head.
    pub(super) fn tail_of(&self, token: usize) -> Option<usize> {
        self.borders.iter().rposition(|&border| token >= border)
    }
}
