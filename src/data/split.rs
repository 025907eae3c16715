//! The three parts of a corpus.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// One of the three parts of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// What a model learns from.
    Train,
    /// What chooses the best epoch.
    Valid,
    /// What the report states, once.
    Test,
}

impl Split {
    /// The three splits in the order in which ids are given out.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|split| split.to_string() == name).ok_or_else(|| {
            Error::usage(
                "split",
                format!("there is no split named {name:?}"),
                "say train, valid or test",
            )
        })
    }
}
