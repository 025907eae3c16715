//! The error type of this crate.

use std::path::{Path, PathBuf};

/// An error of an operation or of its device. The message says what is wrong and what to do.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation does not support the shapes, kinds, sizes or devices of its arguments.
    #[error("{what}: {problem}\n  what to do: {remedy}")]
    Shape {
        /// The operation.
        what: String,
        /// What is wrong with its arguments.
        problem: String,
        /// What to pass instead.
        remedy: String,
    },
    /// This machine does not have a device, library or precision.
    #[error("{what} is not available: {problem}\n  what to do: {remedy}")]
    Unavailable {
        /// The device, library or precision.
        what: String,
        /// Why it is not available.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// The operating system failed to read or write.
    #[error("{}: cannot {action}: {source}\n  what to do: {}", path.display(), io_remedy(action, source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The failed action: "read", "write", "create".
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// libtorch failed.
    #[error("libtorch: {}\n  what to do: {}", first_lines(&.0.to_string()), torch_remedy(&.0.to_string()))]
    Torch(#[from] tch::TchError),
    /// The CUDA driver or compiler failed.
    #[error("CUDA: {what}: {problem}\n  what to do: {remedy}")]
    Cuda {
        /// The kernel or other operation.
        what: String,
        /// The message of the driver or compiler.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The processes of a group cannot go on together: one has ended, does not answer, or has other settings.
    #[error("{what} {problem}\n  what to do: {remedy}")]
    Group {
        /// The rank, the host or the environment variable.
        what: String,
        /// What happened to it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// Interrupted while it waited for other processes.
    #[error("interrupted while waiting for the other processes of the group")]
    Interrupted,
}

/// Prints the message, because notebooks and `fn main() -> Result<()>` show an error's Debug form.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an [`Error::Shape`].
    pub fn shape(
        what: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Shape { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Creates an [`Error::Unavailable`].
    pub fn unavailable(
        what: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Unavailable { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Creates an [`Error::Group`].
    pub fn group(
        what: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Group { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// Converts an [`std::io::Error`] into an [`Error::Io`]: `.map_err(Error::io(path, "read"))`.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, action, source }
    }
}

/// Removes the C++ call stack that libtorch appends.
fn first_lines(message: &str) -> &str {
    message.split("\nException raised from").next().unwrap_or(message).trim_end()
}

/// Whether a message of libtorch says that an allocation failed.
pub fn is_out_of_memory(message: &str) -> bool {
    ["can't allocate memory", "not enough memory", "out of memory"]
        .iter()
        .any(|text| message.contains(text))
}

fn torch_remedy(message: &str) -> &'static str {
    if is_out_of_memory(message) {
        "memory ran out: end other programs on this machine, or use a smaller model or batch"
    } else {
        "report this"
    }
}

/// What to do about an error of the file system, for the user. `action` is what failed: "read", "write".
pub fn io_remedy(action: &str, error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::*;
    match error.kind() {
        NotFound => "check the path",
        PermissionDenied if matches!(action, "read" | "open") => {
            "change the permissions of this path so that you may read it"
        }
        PermissionDenied | ReadOnlyFilesystem => {
            "choose a folder that you may write to, or change its permissions"
        }
        StorageFull | QuotaExceeded | FileTooLarge => {
            "free some space there, or write to another disk"
        }
        AlreadyExists => "there is a file of this name; choose another folder",
        NotADirectory => "a part of this path is a file; choose another folder",
        _ => "check the path and the disk, then run the command again",
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn the_remedy_of_an_io_error_depends_on_the_failed_action() {
        let message = |action, kind: ErrorKind| Error::io("log", action)(kind.into()).to_string();
        for action in ["read", "open"] {
            let message = message(action, ErrorKind::PermissionDenied);
            assert!(message.contains("may read") && !message.contains("write"), "{message}");
        }
        let written = message("write", ErrorKind::PermissionDenied);
        assert!(written.contains("may write"), "{written}");
        let file_for_folder = message("create", ErrorKind::AlreadyExists);
        assert!(file_for_folder.contains("choose another folder"), "{file_for_folder}");
    }
}
