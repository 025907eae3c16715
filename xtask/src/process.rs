//! Runs programs that say themselves why they fail.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use crate::error::{Error, Result};

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
    fn a_status_is_passed_on_as_shells_do() {
        // Wait statuses as the kernel has them: the code in the high byte, the signal in the low.
        for (wait, expected) in [(0, 0), (2 << 8, 2), (130 << 8, 130), (2, 130), (9, 137)] {
            assert_eq!(shell_status(ExitStatus::from_raw(wait)), expected);
        }
    }
}
