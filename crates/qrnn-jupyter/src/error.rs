//! What can go wrong in the kernel's own work; what goes wrong in a cell is an `Outcome`.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: cannot {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    /// A file that should describe something does not.
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    #[error("cannot open the kernel's sockets: {0}")]
    Sockets(#[from] jupyter_zmq_client::RuntimeError),
    #[error("cannot {action}: {source}")]
    System { action: &'static str, source: std::io::Error },
    /// Something that the kernel builds upon is missing or of another make.
    #[error("{what}\n  what to do: {remedy}")]
    Missing { what: String, remedy: String },
    #[error("the evaluator did not start: {0}")]
    Evaluator(String),
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
