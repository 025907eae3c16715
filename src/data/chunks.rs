//! Reads a text file in cache-sized chunks of whole words, validated as UTF-8.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Error, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Bytes per read: fits the second-level cache together with the word table. The file is not
/// memory-mapped, because a concurrent change to it would be undefined behavior.
pub(super) const CHUNK: usize = 1 << 17;

/// Readable bytes after the end of a chunk.
pub(super) const PADDING: usize = 16;

/// The UTF-8 byte order mark.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Iterates over a range of a file in chunks.
pub(super) struct Chunks<'a> {
    file: &'a File,
    range: Range<u64>,
    /// Bytes `returned..filled` were read and not returned yet; bytes from `filled` on are 0.
    buffer: Vec<u8>,
    returned: usize,
    filled: usize,
    chunk_size: usize,
}

impl<'a> Chunks<'a> {
    /// `range` should begin and end at line boundaries.
    pub(super) fn new(file: &'a File, range: Range<u64>, chunk_size: usize) -> Self {
        Self { file, range, buffer: vec![], returned: 0, filled: 0, chunk_size }
    }

    /// Bytes still to be read from the file.
    pub(super) fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The next chunk, and its bytes followed by 16 more; `None` at the end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] if the text is not UTF-8, and errors of the file system.
    pub(super) fn next(&mut self) -> io::Result<Option<(&str, &[u8])>> {
        self.buffer.copy_within(self.returned..self.filled, 0);
        self.filled -= self.returned;
        self.returned = 0;
        let mut end = None;
        while end.is_none() && !self.range.is_empty() {
            let new = self.fill()?;
            // A chunk ends after a space or line feed, which never splits a character or \r\n.
            let cut = new.clone().rev().find(|at| matches!(self.buffer[*at], b' ' | b'\n'));
            end = cut.map(|at| at + 1);
        }
        let end = if self.range.is_empty() { self.filled } else { end.unwrap_or(self.filled) };
        if end == 0 {
            return Ok(None);
        }
        self.returned = end;
        let padded = &self.buffer[..end + PADDING];
        let text = str::from_utf8(&padded[..end])
            .map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        Ok(Some((text, padded)))
    }

    /// Reads more of the file; returns the range of the new bytes in the buffer.
    fn fill(&mut self) -> io::Result<Range<usize>> {
        let want = self.chunk_size.min(usize::try_from(self.bytes()).unwrap_or(usize::MAX));
        if self.buffer.len() < self.filled + want + PADDING {
            self.buffer.resize(self.filled + want + PADDING, 0);
        }
        let start = self.filled;
        match self.file.read_at(&mut self.buffer[start..start + want], self.range.start) {
            // The file was truncated after its size was read: it ends here.
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

/// Splits a file after line ends into at most `count` ranges of similar size, without the byte
/// order mark.
pub(super) fn ranges(file: &File, bytes: u64, count: u64) -> io::Result<Vec<Range<u64>>> {
    let mut reader = BufReader::new(file);
    let mut head = vec![];
    reader.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut head)?;
    let mut start = if head == BYTE_ORDER_MARK { head.len() as u64 } else { 0 };
    let mut ranges = vec![];
    for left in (2..=count).rev() {
        let middle = start + (bytes - start) / left;
        reader.seek(SeekFrom::Start(middle))?;
        let end = (middle + reader.skip_until(b'\n')? as u64).min(bytes);
        ranges.push(start..end);
        start = end;
    }
    ranges.push(start..bytes);
    Ok(ranges)
}
