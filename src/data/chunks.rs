//! A text file in pieces that stay in the cache, each whole words and checked UTF-8.

use std::fs::File;
use std::io::{self, Error, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Bytes read at a time: pieces that the second-level cache holds beside the table of words. The
/// file is not mapped: one that changes meanwhile would be undefined behaviour.
const PIECE: usize = 1 << 17;

/// Bytes that may be read behind a piece.
const PADDING: usize = 16;

/// The byte order mark.
pub(super) const MARK: &[u8] = "\u{feff}".as_bytes();

/// A range of a file, piece by piece.
pub(super) struct Chunks<'a> {
    file: &'a File,
    range: Range<u64>,
    /// What was read and not given out yet starts at `given` and ends at `filled`; the rest is 0.
    buffer: Vec<u8>,
    given: usize,
    filled: usize,
    piece: usize,
}

impl<'a> Chunks<'a> {
    /// The range should begin and end where a line does.
    pub(super) fn new(file: &'a File, range: Range<u64>) -> Self {
        Self::with_piece(file, range, PIECE)
    }

    pub(super) fn with_piece(file: &'a File, range: Range<u64>, piece: usize) -> Self {
        Self { file, range, buffer: vec![], given: 0, filled: 0, piece }
    }

    /// Bytes still to be read from the file.
    pub(super) fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The next piece, and the same with 16 bytes behind it; `None` at the end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] where it is not UTF-8; what the disk says otherwise.
    pub(super) fn next(&mut self) -> io::Result<Option<(&str, &[u8])>> {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        let mut end = None;
        while end.is_none() && !self.range.is_empty() {
            let new = self.fill()?;
            // A space or line feed is never inside a character or between \r and \n.
            let cut = new.clone().rev().find(|at| matches!(self.buffer[*at], b' ' | b'\n'));
            end = cut.map(|at| at + 1);
        }
        let end = if self.range.is_empty() { self.filled } else { end.unwrap_or(self.filled) };
        if end == 0 {
            return Ok(None);
        }
        self.given = end;
        let padded = &self.buffer[..end + PADDING];
        let text = str::from_utf8(&padded[..end])
            .map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        Ok(Some((text, padded)))
    }

    /// Reads on, and gives the place of what is new in the buffer.
    fn fill(&mut self) -> io::Result<Range<usize>> {
        let want = self.piece.min(usize::try_from(self.bytes()).unwrap_or(usize::MAX));
        if self.buffer.len() < self.filled + want + PADDING {
            self.buffer.resize(self.filled + want + PADDING, 0);
        }
        let start = self.filled;
        match self.file.read_at(&mut self.buffer[start..start + want], self.range.start) {
            // Somebody cut the file meanwhile: what is there counts.
            Ok(0) => self.range.end = self.range.start,
            Ok(read) => {
                self.range.start += read as u64;
                self.filled += read;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        let filled = self.filled;
        self.buffer[filled..filled + PADDING].fill(0);
        Ok(start..filled)
    }
}

/// Cuts a file after line ends into at most `count` ranges of about one size; a byte order mark is
/// in none.
pub(super) fn ranges(file: &File, bytes: u64, count: u64) -> io::Result<Vec<Range<u64>>> {
    let mut head = [0; MARK.len()];
    let marked = read_up_to(file, &mut head, 0)? == MARK.len() && head == MARK;
    let mut start = if marked { MARK.len() as u64 } else { 0 };
    let mut ranges = vec![];
    for left in (2..=count).rev() {
        let Some(end) = line_end(file, start + (bytes - start) / left)? else { break };
        ranges.push(start..end);
        start = end;
    }
    ranges.push(start..bytes);
    Ok(ranges)
}

/// The place behind the first line feed from `at` on.
fn line_end(file: &File, mut at: u64) -> io::Result<Option<u64>> {
    let mut buffer = [0; 4096];
    loop {
        let read = read_up_to(file, &mut buffer, at)?;
        if let Some(place) = buffer[..read].iter().position(|byte| *byte == b'\n') {
            return Ok(Some(at + place as u64 + 1));
        }
        if read == 0 {
            return Ok(None);
        }
        at += read as u64;
    }
}

/// Fills the buffer as far as the file goes.
pub(super) fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
