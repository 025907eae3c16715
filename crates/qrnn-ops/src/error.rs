//! The error type of this crate.

use std::path::{Path, PathBuf};

/// An error of an operation or of the device it runs on. The message names what is wrong and what to do.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Arguments whose shapes, kinds, sizes or devices an operation does not take.
    #[error("{what}: {problem}\n  what to do: {remedy}")]
    Shape {
        /// The operation.
        what: String,
        /// What is wrong with its arguments.
        problem: String,
        /// What to pass instead.
        remedy: String,
    },
    /// A device, library or precision that this machine does not have.
    #[error("{what} is not available: {problem}\n  what to do: {remedy}")]
    Unavailable {
        /// The device, library or precision.
        what: String,
        /// Why it is not available.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {source}\n  what to do: {}", path.display(), io_remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {}\n  what to do: {}", first_lines(&.0.to_string()), torch_remedy(&.0.to_string()))]
    Torch(#[from] tch::TchError),
    /// The CUDA driver or compiler refused.
    #[error("CUDA: {what}: {problem}\n  what to do: {remedy}")]
    Cuda {
        /// The kernel, or what else was asked of CUDA.
        what: String,
        /// The message of the driver or compiler.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
}

/// Prints the message: a notebook and `fn main() -> Result<()>` show an error's Debug form.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Shape`].
    pub fn shape(
        what: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Shape { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// An [`Error::Unavailable`].
    pub fn unavailable(
        what: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Unavailable { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Turns an [`std::io::Error`] into an [`Error::Io`]: `.map_err(Error::io(path, "read"))`.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, action, source }
    }
}

/// libtorch appends its C++ call stack, which does not help the reader.
fn first_lines(message: &str) -> &str {
    message.split("\nException raised from").next().unwrap_or(message).trim_end()
}

/// Whether a message of libtorch says that an allocation failed.
pub fn is_out_of_memory(message: &str) -> bool {
    ["can't allocate memory", "not enough memory", "out of memory"]
        .iter()
        .any(|words| message.contains(words))
}

fn torch_remedy(message: &str) -> &'static str {
    if is_out_of_memory(message) {
        "memory ran out: end other programs on this machine, or use a smaller model or batch"
    } else {
        "report this"
    }
}

/// What to do about an error of the file system.
pub fn io_remedy(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::*;
    match error.kind() {
        NotFound => "check the path",
        PermissionDenied | ReadOnlyFilesystem => {
            "choose a folder that you may write to, or change its permissions"
        }
        StorageFull | QuotaExceeded | FileTooLarge => {
            "free some space there, or write to another disk"
        }
        NotADirectory => "a part of this path is a file; choose another folder",
        _ => "check the path and the disk, then run the command again",
    }
}
