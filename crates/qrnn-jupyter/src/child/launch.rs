//! Starts the child process, with pipes to the kernel.

use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal, setpgid};

use crate::child::runtime;
use crate::error::{Error, Result};

/// The kernel's ends of the pipes. Successive child processes share them.
pub struct Pipes {
    pub stdout: PipeReader,
    pub stderr: PipeReader,
    pub stdin: PipeWriter,
    pub acknowledgements: PipeWriter,
}

/// The child's ends. The kernel keeps them open for the next child process.
struct ChildEnds {
    stdin: PipeReader,
    stdout: PipeWriter,
    stderr: PipeWriter,
    acknowledgements: PipeReader,
}

/// A command that starts a child process each time it is run, and the pipes.
pub fn command(program: &Path) -> Result<(Command, Pipes)> {
    let make = || pipe().map_err(Error::system("make a pipe"));
    let ((child_in, stdin), (stdout, child_out)) = (make()?, make()?);
    let ((stderr, child_err), (child_ack, acknowledgements)) = (make()?, make()?);
    for reader in [&stdout, &stderr] {
        let flags = rustix::fs::fcntl_getfl(reader).map_err(Error::system("ask about a pipe"))?;
        rustix::fs::fcntl_setfl(reader, flags | rustix::fs::OFlags::NONBLOCK)
            .map_err(Error::system("set up a pipe"))?;
        // For speed; smaller pipes work too.
        let _ = rustix::pipe::fcntl_setpipe_size(reader, 1 << 20);
    }
    let ends = ChildEnds {
        stdin: child_in,
        stdout: child_out,
        stderr: child_err,
        acknowledgements: child_ack,
    };
    let mut command = Command::new(program);
    // SAFETY: plain system calls between fork and exec.
    unsafe { command.pre_exec(move || arrange(&ends)) };
    Ok((command, Pipes { stdout, stderr, stdin, acknowledgements }))
}

/// Runs in the new process: moves evcxr's pipes away and puts the kernel's in their place.
fn arrange(ends: &ChildEnds) -> std::io::Result<()> {
    // The child must not outlive the kernel.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // In another process group, it can be killed together with the programs that a cell started.
    setpgid(None, None)?;
    let moves: [(RawFd, RawFd); 6] = [
        (0, runtime::COMMANDS),
        (1, runtime::ANSWERS),
        (ends.acknowledgements.as_raw_fd(), runtime::ACKNOWLEDGEMENTS),
        (ends.stdin.as_raw_fd(), 0),
        (ends.stdout.as_raw_fd(), 1),
        (ends.stderr.as_raw_fd(), 2),
    ];
    moves.into_iter().try_for_each(|(from, to)| duplicate(from, to))
}

/// `dup2`; the copy stays open across exec.
fn duplicate(from: RawFd, to: RawFd) -> std::io::Result<()> {
    // SAFETY: `from` is open; `to` becomes an open descriptor that nothing here closes.
    unsafe {
        let mut target = OwnedFd::from_raw_fd(to);
        let result = rustix::io::dup2(BorrowedFd::borrow_raw(from), &mut target);
        let _ = target.into_raw_fd();
        Ok(result?)
    }
}
