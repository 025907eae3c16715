//! The one error type of the crate.

use std::path::{Path, PathBuf};

/// What can go wrong, always with the file, line, flag or field and what to do about it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A flag, setting or argument cannot be used.
    #[error("{what}: {problem}\n  what to do: {remedy}")]
    Usage {
        /// The flag, setting or argument.
        what: String,
        /// What is wrong with it.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// A text, checkpoint or configuration file is not what it should be.
    #[error("{}{}: {problem}\n  what to do: {remedy}", path.display(), at_line(*line))]
    BadFile {
        /// The file or folder.
        path: PathBuf,
        /// The line, counted from 1, where the place is known.
        line: Option<u64>,
        /// What is wrong with it.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {source}\n  what to do: {}", path.display(), qrnn_ops::io_remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The requested device or precision is not to be had on this machine.
    #[error("{what} is not available: {problem}\n  what to do: {remedy}")]
    Unavailable {
        /// The device or precision.
        what: String,
        /// Why.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// What was to be downloaded is not here.
    #[error("{what} could not be fetched: {problem}\n  what to do: {remedy}")]
    Fetch {
        /// The dataset, or the file that could not be written.
        what: String,
        /// What each server said, or the disk.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// The loss, or its gradient, is no longer a number.
    #[error(
        "training diverged at step {step}: {problem} at learning rate {rate:e}; the model is as it \
         was before that step\n  what to do: {}",
        after_divergence(checkpoint.as_deref())
    )]
    Diverged {
        /// Optimizer steps taken before.
        step: u64,
        /// What is not finite.
        problem: String,
        /// The learning rate of that step.
        rate: f64,
        /// The last checkpoint of before that step, where there is one.
        checkpoint: Option<PathBuf>,
    },
    /// A number that has to be finite is not.
    #[error("{what} {problem}\n  what to do: {remedy}")]
    NotFinite {
        /// The tensor, or the result.
        what: String,
        /// What it is or holds.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// Ctrl-C or an interrupt of the notebook.
    #[error("interrupted: {saved}")]
    Interrupted {
        /// What was kept.
        saved: String,
    },
    /// Memory ran out, or certainly would.
    #[error("not enough memory: the run needs {needed}, and {problem}\n  what to do: {remedy}")]
    Memory {
        /// The estimate, and what it is made of.
        needed: String,
        /// What there is.
        problem: String,
        /// The flags that lower it.
        remedy: String,
    },
    /// An operation failed: of libtorch, of CUDA, or of this project's own.
    #[error(transparent)]
    Ops(#[from] qrnn_ops::Error),
    /// A plot could not be drawn.
    #[error("cannot draw {}: {problem}", path.display())]
    Plot {
        /// The picture.
        path: PathBuf,
        /// What plotters said.
        problem: String,
    },
}

/// The message for people: a notebook and `fn main() -> Result<()>` show an error's Debug form.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        Self::Ops(error.into())
    }
}

/// `Result` with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A [`Error::Usage`].
    pub fn usage(
        what: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Usage { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A [`Error::BadFile`] that concerns the whole file.
    pub fn bad_file(
        path: impl AsRef<Path>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::BadFile {
            path: path.as_ref().into(),
            line: None,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// A [`Error::BadFile`] at a line, counted from 1.
    pub fn bad_line(
        path: impl AsRef<Path>,
        line: u64,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::BadFile {
            path: path.as_ref().into(),
            line: Some(line),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// A [`Error::Unavailable`].
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

    /// The exit status of `reproduce`: 1 the work failed, 2 the call or the input is wrong,
    /// 130 interrupted.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::BadFile { .. } | Self::Io { .. } => 2,
            Self::Unavailable { .. } => 2,
            Self::Interrupted { .. } => 130,
            Self::Memory { .. } => 1,
            Self::Fetch { .. }
            | Self::Diverged { .. }
            | Self::NotFinite { .. }
            | Self::Plot { .. } => 1,
            Self::Ops(error) => match error {
                qrnn_ops::Error::Torch(_) | qrnn_ops::Error::Cuda { .. } => 1,
                _ => 2,
            },
        }
    }
}

fn after_divergence(checkpoint: Option<&Path>) -> String {
    let begin = match checkpoint {
        Some(path) => format!(
            "begin with the weights of a checkpoint before it in another --out: `--init {}`",
            path.display()
        ),
        None => "begin anew: `--overwrite`".to_owned(),
    };
    format!("set a lower --lr, or `--clip 0.25`, and {begin}")
}

fn at_line(line: Option<u64>) -> String {
    line.map(|n| format!(", line {n}")).unwrap_or_default()
}
