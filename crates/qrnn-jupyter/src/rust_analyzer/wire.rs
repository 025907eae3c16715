//! The protocol between the kernel and the rust-analyzer process: one JSON object a line.

use serde::{Deserialize, Serialize};

/// The subcommand that is the process; its workdir follows.
pub const SUBCOMMAND: &str = "analysis";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Question {
    pub id: u64,
    /// The `[dependencies]` of the notebook, as in a manifest.
    pub dependencies: String,
    pub ask: Ask,
}

/// Offsets are bytes of the text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// Load the sources of the dependencies, and answer when that is done.
    Load,
    Complete {
        text: String,
        offset: usize,
    },
    /// `detailed`: with the source of the definition and all fields.
    Inspect {
        text: String,
        offset: usize,
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

/// The bytes to replace, and what may replace them, the most likely first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Completions {
    pub start: usize,
    pub end: usize,
    pub items: Vec<Item>,
}

impl Completions {
    pub fn none(offset: usize) -> Self {
        Self { start: offset, end: offset, items: vec![] }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub text: String,
    /// Jupyter's name for the kind: `function`, `class`, `module`, ...
    pub kind: String,
    /// What follows the name in its declaration: `(&mut self, value: T)`, `: usize`.
    pub signature: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    pub plain: String,
    pub markdown: String,
}
