//! Device and thread count of a command line.

use tch::Device;

use crate::{Error, Result, terminal};

/// The GPU of this number, for `--device cuda` (0) or `--device cuda:N`.
///
/// # Errors
/// [`Error::Unavailable`] if it is not usable.
pub fn require_cuda(number: usize) -> Result<Device> {
    qrnn_ops::device::cuda_at(number).map_err(|error| match error {
        qrnn_ops::Error::Unavailable { problem, remedy, .. } => {
            let what = match number {
                0 => "--device cuda".to_owned(),
                number => format!("--device cuda:{number}"),
            };
            Error::Unavailable { what, problem, remedy }
        }
        other => other.into(),
    })
}

/// Shares the processors of this machine among the processes of a group that run on it, and prints a note if they leave
/// most of them idle.
pub fn share_processors(processes: usize) {
    let count = qrnn_ops::libtorch::share_threads(processes);
    let computing = count.threads * processes;
    if 2 * computing <= count.processors {
        terminal::note(format_args!(
            "computing with {} of {} processors ({} in each of {processes} processes): set OMP_NUM_THREADS={} before \
             the launcher, for torchrun sets it to 1",
            computing,
            count.processors,
            count.threads,
            count.processors / processes
        ));
    }
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
