//! Threads and devices as a command line asks for them.

use tch::Device;

use crate::{Error, Result, terminal};

/// The first GPU, for `--device cuda`.
///
/// # Errors
/// [`Error::Unavailable`] where there is no GPU that can be used.
pub fn require_cuda() -> Result<Device> {
    qrnn_ops::device::cuda().map_err(|error| match error {
        qrnn_ops::Error::Unavailable { problem, remedy, .. } => {
            Error::Unavailable { what: "--device cuda".into(), problem, remedy }
        }
        other => other.into(),
    })
}

/// Sets the number of threads, and says so where the environment asks for more than are used.
pub fn set_threads() {
    let count = qrnn_ops::libtorch::set_threads();
    if let Some(asked) = count.too_many {
        terminal::note(format_args!(
            "computing with {} threads, not {asked}: this process may use {} processors",
            count.threads, count.processors
        ));
    }
}
