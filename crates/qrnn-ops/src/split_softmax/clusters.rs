//! How a split softmax divides the vocabulary.

/// Where the clusters lie.
#[derive(Debug, Clone)]
pub struct Clusters {
    pub(super) vocab: usize,
    /// First word of each tail, ascending.
    pub(super) borders: Vec<usize>,
}

impl Clusters {
    /// Clusters from the first token id of each tail.
    pub fn new(vocab: usize, borders: Vec<usize>) -> Self {
        Self { vocab, borders }
    }

    /// Tail clusters; 0 for a plain softmax.
    pub fn tails(&self) -> usize {
        self.borders.len()
    }

    /// Words in the head.
    pub(super) fn head_words(&self) -> usize {
        self.borders.first().copied().unwrap_or(self.vocab)
    }

    /// First word and size of a tail, counted from 0.
    pub(super) fn tail(&self, k: usize) -> (usize, usize) {
        let end = self.borders.get(k + 1).copied().unwrap_or(self.vocab);
        (self.borders[k], end - self.borders[k])
    }

    /// The head's class that stands for a tail: the tombstones follow the words, the first tail's
    /// last.
    pub(super) fn tombstone(&self, k: usize) -> usize {
        self.head_words() + self.tails() - 1 - k
    }

    /// The tail of a word, `None` for the head.
    pub(super) fn tail_of(&self, word: usize) -> Option<usize> {
        self.borders.iter().rposition(|&border| word >= border)
    }
}
