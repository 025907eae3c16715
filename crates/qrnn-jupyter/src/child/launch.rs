//! How the evaluation process is started: the pipes between it and the kernel.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal, setpgid};

use crate::child::runtime;
use crate::error::{Error, Result};

/// The kernel's ends of the pipes; they outlive any one evaluation process.
#[derive(Debug)]
pub struct Pipes {
    pub stdout: PipeReader,
    pub stderr: PipeReader,
    pub stdin: PipeWriter,
    pub acknowledgements: PipeWriter,
}

/// The evaluation process's ends. The kernel keeps them open, for the next such process.
struct Ends {
    stdin: PipeReader,
    stdout: PipeWriter,
    stderr: PipeWriter,
    acknowledgements: PipeReader,
}

/// A command that starts an evaluation process each time it is run, and the pipes to it.
///
/// # Errors
/// Where pipes cannot be made.
pub fn command(program: &Path) -> Result<(Command, Pipes)> {
    let make = || pipe().map_err(Error::system("make a pipe"));
    let ((in_reader, in_writer), (out_reader, out_writer)) = (make()?, make()?);
    let ((err_reader, err_writer), (ack_reader, ack_writer)) = (make()?, make()?);
    for reader in [&out_reader, &err_reader] {
        let flags = rustix::fs::fcntl_getfl(reader).map_err(Error::system("ask about a pipe"))?;
        rustix::fs::fcntl_setfl(reader, flags | rustix::fs::OFlags::NONBLOCK)
            .map_err(Error::system("set up a pipe"))?;
        // Much is printed at once; a smaller pipe works too.
        let _ = rustix::pipe::fcntl_setpipe_size(reader, 1 << 20);
    }
    let pipes = Pipes {
        stdout: out_reader,
        stderr: err_reader,
        stdin: in_writer,
        acknowledgements: ack_writer,
    };
    let ends = Ends {
        stdin: in_reader,
        stdout: out_writer,
        stderr: err_writer,
        acknowledgements: ack_reader,
    };
    let mut command = Command::new(program);
    // SAFETY: between fork and exec it makes plain system calls only.
    unsafe { command.pre_exec(move || arrange(&ends)) };
    Ok((command, pipes))
}

/// Runs in the new process: evcxr's pipes out of the way, the kernel's in their place.
fn arrange(ends: &Ends) -> std::io::Result<()> {
    // However the kernel dies, no evaluation process outlives it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A group of its own, so that programs that a cell started can be ended with it.
    setpgid(None, None)?;
    let moves: [(RawFd, RawFd); 6] = [
        (0, runtime::COMMANDS),
        (1, runtime::ANSWERS),
        (ends.acknowledgements.as_raw_fd(), runtime::ACKNOWLEDGEMENTS),
        (ends.stdin.as_raw_fd(), 0),
        (ends.stdout.as_raw_fd(), 1),
        (ends.stderr.as_raw_fd(), 2),
    ];
    for (from, to) in moves {
        duplicate(from, to)?;
    }
    Ok(())
}

/// `dup2`, which leaves the copy open across exec.
fn duplicate(from: RawFd, to: RawFd) -> std::io::Result<()> {
    use std::os::fd::{FromRawFd, IntoRawFd};
    // SAFETY: `from` is open; `to` becomes an open descriptor that nothing here closes.
    unsafe {
        let mut target = OwnedFd::from_raw_fd(to);
        let result = rustix::io::dup2(BorrowedFd::borrow_raw(from), &mut target);
        let _ = target.into_raw_fd();
        result?;
    }
    Ok(())
}

/// What is left unread in the standard input of a process that has ended is not for the next one.
/// (The write end is the kernel's; the read end can be opened anew through /proc.)
pub fn forget_input(stdin: &PipeWriter) {
    let path = format!("/proc/self/fd/{}", stdin.as_raw_fd());
    let Ok(reader) = File::options().read(true).open(path) else { return };
    let Ok(flags) = rustix::fs::fcntl_getfl(&reader) else { return };
    if rustix::fs::fcntl_setfl(&reader, flags | rustix::fs::OFlags::NONBLOCK).is_ok() {
        let mut buffer = [0; 4096];
        while matches!(rustix::io::read(&reader, &mut buffer), Ok(1..)) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn input_that_nobody_read_is_forgotten() {
        let (mut reader, mut writer) = pipe().unwrap();
        writer.write_all(b"left over\n").unwrap();
        forget_input(&writer);
        writer.write_all(b"new\n").unwrap();
        drop(writer);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(text, "new\n");
    }
}
