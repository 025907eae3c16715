//! Errors of the kernel itself. An error in a cell is a [`crate::protocol::cell_error::CellError`].

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: cannot {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("cannot open the kernel's sockets: {0}")]
    Sockets(#[from] jupyter_zmq_client::RuntimeError),
    #[error("cannot {action}: {source}")]
    System { action: &'static str, source: std::io::Error },
    #[error("{what}\n  what to do: {remedy}")]
    Missing { what: String, remedy: String },
    #[error("evcxr did not start: {0}")]
    Evcxr(String),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// `.map_err(Error::io(path, "read"))`
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    /// `.map_err(Error::system("make a pipe"))`
    pub fn system<E: Into<std::io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { action, source: source.into() }
    }

    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().into(), problem: problem.into() }
    }
}
