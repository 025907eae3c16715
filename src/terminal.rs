//! Output to standard output and standard error.
//!
//! `println!` and `eprintln!` panic if the reader has closed the pipe (`2>&1 | head -3`) or the disk is
//! full, which would end hours of training. Clippy forbids them (`[workspace.lints]` in Cargo.toml).

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;
use std::time::Duration;

/// The rank of this process in its group, once it is in one.
static RANK: OnceLock<usize> = OnceLock::new();

/// From now on this process speaks as a rank of a group: it writes notes only if it is rank 0, and others name their
/// rank in errors.
pub fn speak_as_rank(rank: usize) {
    // A process belongs to one group.
    let _ = RANK.set(rank);
}

/// Writes a line to standard error with a single write, unless another rank of the group does. Errors are ignored.
pub fn note(line: impl Display) {
    if matches!(RANK.get(), None | Some(0)) {
        write_to_stderr(line);
    }
}

/// Writes an error message to standard error with a single write. Errors are ignored.
pub fn error(line: impl Display) {
    match RANK.get() {
        None | Some(0) => write_to_stderr(format_args!("error: {line}")),
        Some(rank) => write_to_stderr(format_args!("rank {rank}: error: {line}")),
    }
}

fn write_to_stderr(line: impl Display) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Writes a line of progress to standard output with a single write. Errors are ignored.
pub fn show(line: impl Display) {
    let _ = print(line);
}

/// Writes a line of results to standard output. A closed pipe is not an error.
///
/// # Errors
/// Other errors of the system, for example a full disk.
pub fn print(line: impl Display) -> io::Result<()> {
    write_line(&mut io::stdout().lock(), line)
}

fn write_line(out: &mut impl Write, line: impl Display) -> io::Result<()> {
    match write_all(out, format!("{line}\n").as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// [`Write::write_all`] that waits for a slow reader even if another process has set the pipe to
/// non-blocking.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts one byte at a time, fails every other call with `WouldBlock`, and fails with `error` when full.
    struct Slow {
        written: Vec<u8>,
        capacity: usize,
        blocked: bool,
        error: ErrorKind,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.blocked = !self.blocked;
            if self.blocked {
                return Err(ErrorKind::WouldBlock.into());
            }
            if self.written.len() == self.capacity {
                return Err(self.error.into());
            }
            self.written.push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn write_slowly(capacity: usize, error: ErrorKind) -> (io::Result<()>, Vec<u8>) {
        let mut slow = Slow { written: vec![], capacity, blocked: false, error };
        (write_line(&mut slow, "seven.."), slow.written)
    }

    #[test]
    fn a_slow_reader_receives_everything_and_a_full_disk_is_an_error() {
        let (result, written) = write_slowly(100, ErrorKind::StorageFull);
        assert!(result.is_ok());
        assert_eq!(written, b"seven..\n");
        let (result, written) = write_slowly(3, ErrorKind::StorageFull);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(written, b"sev");
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        assert!(write_slowly(3, ErrorKind::BrokenPipe).0.is_ok());
    }
}
