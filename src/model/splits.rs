//! The clusters of the split softmax.

use std::iter;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The clusters of the split softmax.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Splits {
    /// Chosen by vocabulary size as in main.py of awd-lstm-lm: 2,800 / 20,000 / 76,000 above 75,000
    /// words, 4,200 / 35,000 / 180,000 above 500,000, otherwise none.
    #[default]
    Auto,
    /// One softmax over all words.
    None,
    /// The first token id of each tail cluster, ascending.
    At(Vec<usize>),
}

impl Splits {
    /// The cluster boundaries for a vocabulary size, without 0 and `vocab`; empty for a plain softmax.
    ///
    /// # Errors
    /// [`Error::Config`] if the boundaries do not ascend from 1 or exceed the vocabulary.
    pub fn borders(&self, vocab: usize) -> Result<Vec<usize>> {
        match self {
            Self::None => Ok(vec![]),
            Self::Auto if vocab > 500_000 => Ok(vec![4_200, 35_000, 180_000]),
            Self::Auto if vocab > 75_000 => Ok(vec![2_800, 20_000, 76_000]),
            Self::Auto => Ok(vec![]),
            Self::At(boundaries) => {
                let problem = if !iter::once(&0).chain(boundaries).is_sorted_by(|a, b| a < b) {
                    "the boundaries must ascend and be at least 1".to_owned()
                } else if boundaries.iter().any(|&boundary| boundary >= vocab) {
                    format!("the boundaries must be below the vocabulary size {vocab}")
                } else {
                    return Ok(boundaries.clone());
                };
                let remedy = "use smaller boundaries in ascending order, or none";
                Err(Error::config("config.splits", self, problem, remedy))
            }
        }
    }
}

impl std::fmt::Display for Splits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::At(boundaries) => {
                let boundaries: Vec<_> = boundaries.iter().map(usize::to_string).collect();
                f.write_str(&boundaries.join(","))
            }
        }
    }
}

impl std::str::FromStr for Splits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            list => list
                .split(',')
                .map(|boundary| boundary.trim().parse())
                .collect::<Result<Vec<usize>, _>>()
                .map(Self::At)
                .map_err(|_| {
                    Error::config(
                        "clusters",
                        list,
                        "is not a list of token ids",
                        "use for example 2800,20000,76000, or none, or auto",
                    )
                }),
        }
    }
}
