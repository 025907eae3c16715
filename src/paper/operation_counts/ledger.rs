//! The items that a count is the sum of.

use serde::{Deserialize, Serialize};

/// Bits at which an operation or a parameter counts as one.
pub const FULL_BITS: u32 = 32;

/// Storage of the challenge's baseline model, in 32-bit parameters.
pub const BASELINE_PARAMETERS: f64 = 159e6;

/// Operations of the challenge's baseline model per token.
pub const BASELINE_OPERATIONS: f64 = 318e6;

/// A part of a model, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Embedding,
    BlockQrnn,
    BlockDecoder,
    NeuralCache,
}

impl Part {
    /// Its name in tables, that of the published table where it has one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::BlockQrnn => "block_qrnn",
            Self::BlockDecoder => "block_decoder",
            Self::NeuralCache => "neural_cache",
        }
    }
}

/// What an item costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Numbers that are stored.
    Storage,
    /// Multiplications, divisions and exponentials per token.
    Multiplications,
    /// Additions per token.
    Additions,
}

/// A number of stored values or of operations, all of one width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub part: Part,
    /// For example "mask" or "products".
    pub what: String,
    pub cost: Cost,
    pub number: u64,
    /// Bits of each: 32 count as one parameter or operation.
    pub bits: u32,
}

/// Everything that a model stores and computes per token. Numbers are exact.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    items: Vec<(Part, &'static str, Cost, u128, u32)>,
}

/// Sums in bits: of storage, and of operations times their width.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub storage: u128,
    pub multiplications: u128,
    pub additions: u128,
}

impl Ledger {
    /// Adds an item, to an earlier one of the same kind and width if there is one. One of number 0 is left out.
    pub(super) fn add(
        &mut self,
        part: Part,
        what: &'static str,
        cost: Cost,
        number: u128,
        bits: u32,
    ) {
        let same = |item: &&mut (Part, &str, Cost, u128, u32)| {
            (item.0, item.1, item.2, item.4) == (part, what, cost, bits)
        };
        match self.items.iter_mut().find(same) {
            Some(item) => item.3 += number,
            None if number > 0 => self.items.push((part, what, cost, number, bits)),
            None => {}
        }
    }

    /// The items in the order in which they were counted.
    pub fn items(&self) -> Vec<Item> {
        let item = |&(part, what, cost, number, bits): &(Part, &str, Cost, u128, u32)| Item {
            part,
            what: what.into(),
            cost,
            number: u64::try_from(number).unwrap_or(u64::MAX),
            bits,
        };
        self.items.iter().map(item).collect()
    }

    pub(super) fn sums(&self, part: Option<Part>) -> Sums {
        let mut sums = Sums::default();
        for &(of, _, cost, number, bits) in &self.items {
            if part.is_none_or(|part| part == of) {
                let sum = match cost {
                    Cost::Storage => &mut sums.storage,
                    Cost::Multiplications => &mut sums.multiplications,
                    Cost::Additions => &mut sums.additions,
                };
                *sum += number * u128::from(bits);
            }
        }
        sums
    }

    /// The parts that have items, and those of the published table.
    pub(super) fn parts(&self) -> Vec<Part> {
        let published = [Part::Embedding, Part::BlockQrnn, Part::BlockDecoder];
        let mut parts: Vec<Part> =
            self.items.iter().map(|&(part, ..)| part).chain(published).collect();
        parts.sort_unstable();
        parts.dedup();
        parts
    }
}

impl Sums {
    /// Storage in 32-bit parameters.
    pub fn parameters(self) -> f64 {
        self.storage as f64 / f64::from(FULL_BITS)
    }

    /// 32-bit operations per token.
    pub fn operations(self) -> f64 {
        (self.multiplications + self.additions) as f64 / f64::from(FULL_BITS)
    }

    /// The MicroNet score: storage and operations, each divided by that of the challenge's baseline.
    pub fn score(self) -> f64 {
        self.parameters() / BASELINE_PARAMETERS + self.operations() / BASELINE_OPERATIONS
    }
}
