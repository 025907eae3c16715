//! The error type of the crate.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Errors of this crate. Each message names the file, line or field and a remedy.
///
/// Fields are named as in Rust, for example `recipe.lr` or `trainer.resume`; the programs print the name of
/// the flag instead ([`crate::command_line::with_flags`]).
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting or argument has an invalid value.
    #[error("{field}{}: {problem}\n  what to do: {remedy}", after_space(value))]
    Config {
        /// The field, for example "recipe.lr".
        field: String,
        /// Its value; empty if the name alone says it.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// Two inputs do not belong together: a model and a corpus, or a checkpoint and a run. (Tensors of the
    /// wrong shape are a [`qrnn_ops::Error::Shape`].)
    #[error("{what}: {problem}\n  what to do: {remedy}")]
    Mismatch {
        /// The input.
        what: String,
        /// The difference.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// The folder or resource is in use, or holds files that would be overwritten.
    #[error("{what}: {problem}\n  what to do: {remedy}")]
    Busy {
        /// The folder or resource.
        what: String,
        /// Who uses it, or what it holds.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// A text, checkpoint or configuration file is missing, damaged or invalid.
    #[error("{}{}: {problem}\n  what to do: {remedy}", path.display(), at_line(*line))]
    BadFile {
        /// The file or folder.
        path: PathBuf,
        /// The line, counted from 1, if known.
        line: Option<u64>,
        /// What is wrong with it.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// An input or output operation failed.
    #[error("{}: cannot {action}: {source}\n  what to do: {}", path.display(), qrnn_ops::io_remedy(action, source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation: "read", "write", "create".
        action: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// This machine lacks the requested device or precision.
    #[error("{what} is not available: {problem}\n  what to do: {remedy}")]
    Unavailable {
        /// The device or precision.
        what: String,
        /// Why it is not available.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// A download failed.
    #[error("{what} could not be fetched: {problem}\n  what to do: {remedy}")]
    Fetch {
        /// The dataset, or the file that could not be written.
        what: String,
        /// The error of each server, or of the disk.
        problem: String,
        /// What to do instead.
        remedy: String,
    },
    /// The loss or its gradient is NaN or infinite.
    #[error(
        "training diverged at step {step}: {problem} at learning rate {}; the model has the \
         weights from before that step\n  what to do: {}",
        four_digits(*rate),
        after_divergence(checkpoint.as_deref())
    )]
    Diverged {
        /// Optimizer steps completed before the failure.
        step: u64,
        /// What is not finite.
        problem: String,
        /// The learning rate of that step.
        rate: f64,
        /// The last checkpoint from before that step, if any.
        checkpoint: Option<PathBuf>,
    },
    /// A weight or result is NaN or infinite.
    #[error("{what} {problem}\n  what to do: {remedy}")]
    NotFinite {
        /// The tensor, or the result.
        what: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// Interrupted by Ctrl-C, by [`crate::interrupt::Interrupt::request`] or by the notebook.
    #[error("interrupted: {saved}")]
    Interrupted {
        /// Which part of the work is saved.
        saved: String,
    },
    /// Memory ran out, or an estimate exceeds the available memory.
    #[error("not enough memory: the run needs {needed}, and {problem}\n  what to do: {remedy}")]
    Memory {
        /// The estimate and its parts.
        needed: String,
        /// The available memory.
        problem: String,
        /// The settings that reduce it.
        remedy: String,
    },
    /// An operation of libtorch, CUDA or `qrnn_ops` failed.
    #[error(transparent)]
    Ops(qrnn_ops::Error),
    /// A plot could not be drawn.
    #[error("cannot draw {}: {problem}", path.display())]
    Plot {
        /// The image file.
        path: PathBuf,
        /// The error of the PNG encoder.
        problem: String,
    },
}

/// Same as `Display`: a notebook and `fn main() -> Result<()>` print the `Debug` form.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl From<qrnn_ops::Error> for Error {
    fn from(error: qrnn_ops::Error) -> Self {
        match error {
            qrnn_ops::Error::Interrupted => {
                Self::Interrupted { saved: "the processes of the group had not begun".into() }
            }
            error => Self::Ops(error),
        }
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
    /// A [`Error::Config`]: `Error::config("recipe.lr", 0, "must be above 0", "use for example 0.001")`.
    pub fn config(
        field: impl Into<String>,
        value: impl Display,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Config {
            field: field.into(),
            value: value.to_string(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// A [`Error::Mismatch`].
    pub fn mismatch(
        what: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Mismatch { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A [`Error::Busy`].
    pub fn busy(
        what: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Busy { what: what.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A [`Error::BadFile`] about the whole file.
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

    /// Converts an [`std::io::Error`] to an [`Error::Io`]: `.map_err(Error::io(path, "read"))`.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, action, source }
    }
}

/// At most 4 significant digits: a step's rate is that of the recipe times the length of the step.
fn four_digits(rate: f64) -> String {
    let rounded = format!("{rate:.3e}").parse().unwrap_or(rate);
    format!("{rounded:e}")
}

fn after_divergence(checkpoint: Option<&Path>) -> String {
    let restart = match checkpoint {
        Some(path) => format!(
            "start from an earlier checkpoint in a new folder: `QrnnLm::open {}`",
            path.display()
        ),
        None => "start over: `.overwrite(true)`".to_owned(),
    };
    format!("set a lower recipe.lr, or `recipe.clip 0.25`, and {restart}")
}

fn after_space(value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" {value}") }
}

fn at_line(line: Option<u64>) -> String {
    line.map(|n| format!(", line {n}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rates_are_short() {
        let rates = [1e-3, 8.333333333333334e-4, 30.0].map(four_digits);
        assert_eq!(rates, ["1e-3", "8.333e-4", "3e1"]);
    }
}
