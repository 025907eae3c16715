//! The three splits of a corpus.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// One of the three splits of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// The text that a model is trained on.
    Train,
    /// The text that selects the best epoch.
    Valid,
    /// The text of the reported result, evaluated once.
    Test,
}

impl Split {
    /// The three splits, in the order in which word ids are assigned.
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
            Error::config(
                "split",
                format_args!("{name:?}"),
                "there is no such split",
                "use train, valid or test",
            )
        })
    }
}
