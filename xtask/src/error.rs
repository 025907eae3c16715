//! What can go wrong in set-up, always with what to do about it.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that set-up builds upon is missing or cannot be used.
    #[error("{what}\n  what to do: {remedy}")]
    Machine { what: String, remedy: String },
    /// A download is not what was pinned, twice in a row.
    #[error(
        "{file} has sha256 {actual}, the pin says {expected}\n  \
         what to do: run the command again; if it stays, the package index serves another file"
    )]
    Checksum { file: String, expected: String, actual: String },
    /// A wheel is not laid out as expected.
    #[error("{}: {problem}\n  what to do: run the command again; if it stays, report this", path.display())]
    Wheel { path: PathBuf, problem: String },
    #[error("{}: cannot {action}: {source}\n  what to do: check the disk and the permissions of this folder", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn machine(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Machine { what: what.into(), remedy: remedy.into() }
    }

    /// `.map_err(Error::io(path, "read"))`
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, action, source }
    }
}
