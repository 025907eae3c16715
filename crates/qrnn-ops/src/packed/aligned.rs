//! Bytes that start at a cache line and may be read past their end.

use std::ops::{Deref, DerefMut};

/// Bytes after the last one that vector loads may read.
const READABLE: usize = 64;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Zeroed bytes, aligned to 64, with 64 readable bytes after them.
#[derive(Debug, Clone, Default)]
pub(super) struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    pub fn zeroed(len: usize) -> Self {
        let mut bytes = Self::default();
        bytes.resize(len);
        bytes
    }

    /// Changes the length; new bytes are 0, or left from an earlier, longer use.
    pub fn resize(&mut self, len: usize) {
        let lines = (len + READABLE).div_ceil(64);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0; 64]));
        }
        self.len = len;
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the lines are bytes without gaps, at least `len` of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_aligned_and_zero() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let bytes = AlignedBytes::zeroed(len);
            assert_eq!(bytes.len(), len);
            assert!(bytes.as_ptr().addr().is_multiple_of(64));
            assert!(bytes.iter().all(|&byte| byte == 0));
            assert!(bytes.lines.len() * 64 >= len + READABLE);
        }
    }
}
