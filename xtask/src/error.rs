//! Errors; each message ends with what to do.

use std::io;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `status`: 2 where something must be corrected first, 1 where the work failed.
    #[error("{what}\n  what to do: {remedy}")]
    Explained { what: String, remedy: String, status: u8 },
    /// A program that a command runs ended with this status and has said why.
    #[error("a program ended with status {0}")]
    Child(u8),
    /// The error names the file.
    #[error("{0}\n  what to do: check that there is space and that you may write there")]
    File(#[from] io::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Something on this machine, or a file of the repository, is missing or cannot be used.
    pub fn machine(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Explained { what: what.into(), remedy: remedy.into(), status: 2 }
    }

    pub fn failed(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Explained { what: what.into(), remedy: remedy.into(), status: 1 }
    }

    /// `.map_err(Error::io(path, "read"))`, where fs-err does not name the file.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().display().to_string();
        move |error| {
            let text = format!("{path}: cannot {action}: {error}");
            Self::File(io::Error::new(error.kind(), text))
        }
    }

    pub fn status(&self) -> u8 {
        match self {
            Self::Explained { status, .. } | Self::Child(status) => *status,
            Self::File(_) => 2,
        }
    }
}
