//! A cell as it was compiled.

use crate::cells::insertions::{Insertion, is_inserted, original};

#[derive(Debug, Default, Clone)]
pub struct CompiledCell {
    /// The user's code.
    pub cell: String,
    /// The code that evcxr got.
    pub code: String,
    pub insertions: Vec<Insertion>,
    pub count: u64,
}

impl CompiledCell {
    /// The name of the cell in messages.
    pub fn name(&self) -> String {
        cell_name(self.count)
    }

    /// The byte of the cell for a byte of the code.
    pub fn original(&self, byte: usize) -> usize {
        original(&self.insertions, byte)
    }

    /// The byte of the cell for a byte of the code, unless that was inserted.
    pub fn byte_in_cell(&self, byte: usize) -> Option<usize> {
        (!is_inserted(&self.insertions, byte)).then(|| self.original(byte).min(self.cell.len()))
    }
}

/// The name of a cell in messages.
pub fn cell_name(count: u64) -> String {
    format!("cell [{count}]")
}
