//! Blocks of a matrix: what one bit of a mask stands for.

/// How the elements of a matrix are grouped: `height` rows of one column each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    rows: usize,
    columns: usize,
    height: usize,
}

impl Blocks {
    /// * `shape`: (rows, columns), or (columns) for a vector, which is one row.
    pub fn of(shape: &[usize], height: usize) -> Self {
        let (rows, columns) = match *shape {
            [rows, columns] => (rows, columns),
            _ => (1, shape.iter().product()),
        };
        Self { rows, columns, height }
    }

    pub fn count(self) -> usize {
        self.rows.div_ceil(self.height) * self.columns
    }

    /// The elements in row-major order, with the index of their block.
    pub fn elements(self) -> impl Iterator<Item = (usize, usize)> {
        let Self { columns, height, .. } = self;
        (0..self.rows).flat_map(move |r| {
            (0..columns).map(move |c| (r * columns + c, r / height * columns + c))
        })
    }

    /// Which blocks have an element that is not 0.
    pub fn nonzero(self, integers: &[i8]) -> Vec<bool> {
        if self.height == 1 {
            return integers.iter().map(|&integer| integer != 0).collect();
        }
        let mut kept = vec![false; self.count()];
        for (i, block) in self.elements() {
            kept[block] |= integers[i] != 0;
        }
        kept
    }

    /// Number of elements in kept blocks.
    pub fn stored(self, kept: impl Fn(usize) -> bool) -> usize {
        let last_height = (self.rows + self.height - 1) % self.height + 1;
        let first_of_last = self.count().saturating_sub(self.columns);
        (0..self.count())
            .filter(|&block| kept(block))
            .map(|block| if block >= first_of_last { last_height } else { self.height })
            .sum()
    }

    /// Whether a mask and the blocks that are not 0 take fewer bits than all elements.
    pub fn are_sparse(self, integers: &[i8], bits: u32) -> bool {
        let kept = self.nonzero(integers);
        let bits = bits as usize;
        self.stored(|block| kept[block]) * bits + self.count() < integers.len() * bits
    }

    /// The integers that are stored: all, or those of the blocks that are not 0.
    pub fn stored_integers(self, integers: &[i8], is_sparse: bool) -> Vec<i8> {
        if !is_sparse {
            return integers.to_vec();
        }
        let kept = self.nonzero(integers);
        self.elements().filter(|&(_, block)| kept[block]).map(|(i, _)| integers[i]).collect()
    }
}
