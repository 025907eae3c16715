//! Device and thread count of a command line.

use tch::Device;

use crate::{Error, Result, terminal};

/// The first GPU, for `--device cuda`.
///
/// # Errors
/// [`Error::Unavailable`] if no GPU is usable.
pub fn require_cuda() -> Result<Device> {
    qrnn_ops::device::cuda().map_err(|error| match error {
        qrnn_ops::Error::Unavailable { problem, remedy, .. } => {
            Error::Unavailable { what: "--device cuda".into(), problem, remedy }
        }
        other => other.into(),
    })
}

/// Sets the number of threads, and prints a note if the environment requests more than are available.
pub fn set_threads() {
    let count = qrnn_ops::libtorch::set_threads();
    if let Some(requested) = count.too_many {
        terminal::note(format_args!(
            "computing with {} threads instead of {requested}: this process may use {} processors",
            count.threads, count.processors
        ));
    }
}
