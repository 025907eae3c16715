//! What the kernel and the process of rust-analyzer say to each other: a JSON object a line.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Question {
    pub id: u64,
    /// The `[dependencies]` of the notebook, as a manifest has them.
    pub dependencies: String,
    pub ask: Ask,
}

/// Offsets are bytes in the text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// Read the sources of the dependencies, and answer when that is done.
    Load,
    Complete {
        text: String,
        offset: usize,
    },
    Inspect {
        text: String,
        offset: usize,
        /// With the definition's source and all of its fields.
        detailed: bool,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub id: u64,
    pub found: Found,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Found {
    Loaded,
    Completions(Completions),
    Inspection(Option<Inspection>),
}

/// What may stand at the cursor, the likeliest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Completions {
    pub start: usize,
    pub end: usize,
    pub items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub text: String,
    /// As Jupyter's front ends know it: `function`, `class`, `module`, ...
    pub kind: String,
    /// What follows the name where it is declared: `(&mut self, value: T)`, `: usize`.
    pub signature: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    pub plain: String,
    pub markdown: String,
}
