//! Runs programs that say themselves why they fail.

use std::os::unix::process::ExitStatusExt;
use std::panic::resume_unwind;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crate::error::{Error, Result};
use crate::terminal;

pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(Error::io(command.get_program(), "run"))?;
    check(status)
}

/// Returns what the program prints on standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(Error::io(command.get_program(), "run"))?;
    check(output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program that others run beside, and then shows all that it printed.
pub fn run_and_show(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(Error::io(command.get_program(), "run"))?;
    let printed = [output.stdout, output.stderr].concat();
    terminal::note(String::from_utf8_lossy(&printed).trim_end());
    check(output.status)
}

/// Whether a program of this name is on the search path.
pub fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Does `work` for each item, with `threads` items at once; returns the items whose program failed.
pub fn at_once<T: Sync>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<Vec<&T>> {
    let waiting = Mutex::new(items.iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || -> Result<Vec<&T>> {
        let mut failed = vec![];
        while let Some(item) = next() {
            match work(item) {
                Err(Error::Child(_)) => failed.push(item),
                result => result?,
            }
        }
        Ok(failed)
    };
    let failed: Vec<Result<Vec<&T>>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let join = |worker: ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        workers.into_iter().map(join).collect()
    });
    Ok(failed.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

fn check(status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { Err(Error::Child(shell_status(status))) }
}

/// The status as shells have it: 128 and the signal's number for a program that a signal ended.
fn shell_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_and_the_failed_ones_are_returned() {
        let work = |script: &&str| run(Command::new("sh").args(["-c", script]));
        assert_eq!(at_once(2, &["exit 0", "exit 3", "exit 0"], work).unwrap(), [&"exit 3"]);
        assert!(at_once(2, &[()], |()| Err(Error::failed("no", "no"))).is_err());
    }

    #[test]
    fn a_status_is_passed_on_as_shells_do() {
        // Wait statuses as the kernel has them: the code in the high byte, the signal in the low.
        for (wait, expected) in [(0, 0), (2 << 8, 2), (130 << 8, 130), (2, 130), (9, 137)] {
            assert_eq!(shell_status(ExitStatus::from_raw(wait)), expected);
        }
    }
}
