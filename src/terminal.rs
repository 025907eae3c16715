//! The one way to write to standard output and standard error.
//!
//! `println!` and `eprintln!` panic where nobody reads any more (`2>&1 | head -3`) or the disk is full,
//! and would end hours of training; Clippy keeps them out (`[workspace.lints]` in Cargo.toml).

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

/// Writes a line to standard error in one piece. Where that fails, the line is lost and the work goes
/// on: what must not be lost stands in a file.
pub fn note(line: impl Display) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Writes a line to standard output in one piece, for whoever follows the work. Where that fails, the
/// line is lost and the work goes on.
pub fn show(line: impl Display) {
    let _ = print(line);
}

/// Writes a line to standard output: the result that the user asked for. A reader that has gone away
/// wants no more of it, which is no error.
///
/// # Errors
/// Of the system, for example where the disk is full.
pub fn print(line: impl Display) -> io::Result<()> {
    write_line(&mut io::stdout().lock(), line)
}

fn write_line(out: &mut impl Write, line: impl Display) -> io::Result<()> {
    match write_all(out, format!("{line}\n").as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// [`Write::write_all`] that waits for a slow reader, even where another process has made the pipe
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

    /// Takes a byte at a time and refuses every other time, then ends with an error.
    struct Slow {
        taken: Vec<u8>,
        room: usize,
        refused: bool,
        then: ErrorKind,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.refused = !self.refused;
            if self.refused {
                return Err(ErrorKind::WouldBlock.into());
            }
            if self.taken.len() == self.room {
                return Err(self.then.into());
            }
            self.taken.push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(room: usize, then: ErrorKind) -> (io::Result<()>, Vec<u8>) {
        let mut slow = Slow { taken: vec![], room, refused: false, then };
        (write_line(&mut slow, "seven.."), slow.taken)
    }

    #[test]
    fn a_slow_reader_gets_all_and_a_full_disk_is_an_error() {
        let (result, taken) = written(100, ErrorKind::StorageFull);
        assert!(result.is_ok());
        assert_eq!(taken, b"seven..\n");
        let (result, taken) = written(3, ErrorKind::StorageFull);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(taken, b"sev");
    }

    #[test]
    fn a_reader_that_has_gone_away_is_no_error() {
        assert!(written(3, ErrorKind::BrokenPipe).0.is_ok());
    }
}
