//! Checksums and token counts of downloaded files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::dataset::{Archive, DataFile};
use super::token_counts::TokenCounter;
use crate::interrupt::Interrupt;
use crate::{Error, Result};

/// Computes the checksums and counts of a file incrementally.
#[derive(Default)]
pub(super) struct FileHasher {
    bytes: u64,
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
    count: Option<TokenCounter>,
}

/// Size, checksums (lower-case hexadecimal) and counts of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct FileSummary {
    pub bytes: u64,
    pub md5: Option<String>,
    pub sha1: Option<String>,
    pub sha256: Option<String>,
    pub lines: Option<u64>,
    pub tokens: Option<u64>,
}

impl FileHasher {
    /// Computes MD5 and SHA-256 of an archive.
    pub fn of_archive() -> Self {
        Self { md5: Some(Md5::new()), sha256: Some(Sha256::new()), ..Self::default() }
    }

    /// Computes what `file` specifies for a text.
    pub fn of_text(file: &DataFile) -> Self {
        Self {
            sha1: file.sha1.as_ref().map(|_| Sha1::new()),
            sha256: file.sha256.as_ref().map(|_| Sha256::new()),
            count: (file.lines.is_some() || file.tokens.is_some()).then(TokenCounter::default),
            ..Self::default()
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(sum) = &mut self.md5 {
            sum.update(bytes);
        }
        if let Some(sum) = &mut self.sha1 {
            sum.update(bytes);
        }
        if let Some(sum) = &mut self.sha256 {
            sum.update(bytes);
        }
        if let Some(count) = &mut self.count {
            count.update(bytes);
        }
    }

    pub fn finish(self) -> FileSummary {
        let count = self.count.map(TokenCounter::finish);
        FileSummary {
            bytes: self.bytes,
            md5: self.md5.map(|sum| hexadecimal(&sum.finalize())),
            sha1: self.sha1.map(|sum| hexadecimal(&sum.finalize())),
            sha256: self.sha256.map(|sum| hexadecimal(&sum.finalize())),
            lines: count.map(|(lines, _)| lines),
            tokens: count.map(|(lines, words)| lines + words),
        }
    }
}

impl FileSummary {
    /// Describes the first difference from the published text; `None` if there is none.
    pub fn difference(&self, expected: &DataFile) -> Option<String> {
        let count_difference = |name, expected: Option<u64>, actual: Option<u64>| {
            expected.filter(|expected| Some(*expected) != actual).map(|expected| {
                format!("expected {expected} {name}, got {}", actual.unwrap_or_default())
            })
        };
        count_difference("bytes", expected.bytes, Some(self.bytes))
            .or_else(|| checksum_difference("sha256", &expected.sha256, &self.sha256))
            .or_else(|| checksum_difference("sha1", &expected.sha1, &self.sha1))
            .or_else(|| count_difference("lines", expected.lines, self.lines))
            .or_else(|| count_difference("words (<eos> counted)", expected.tokens, self.tokens))
    }

    /// Describes the first difference from the published archive; `None` if there is none.
    pub fn archive_difference(&self, expected: &Archive) -> Option<String> {
        checksum_difference("md5", &Some(expected.md5.clone()), &self.md5)
            .or_else(|| checksum_difference("sha256", &expected.sha256, &self.sha256))
    }
}

fn checksum_difference(
    name: &str,
    expected: &Option<String>,
    actual: &Option<String>,
) -> Option<String> {
    let expected = expected.as_ref().filter(|expected| Some(*expected) != actual.as_ref())?;
    Some(format!("expected {name} {expected}, got {}", actual.as_deref().unwrap_or("none")))
}

fn hexadecimal(sum: &[u8]) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a file and computes its summary.
///
/// # Errors
/// [`Error::Io`]; [`Error::Interrupted`].
pub(super) fn hash_file(
    path: &Path,
    mut hasher: FileHasher,
    interrupt: &Interrupt,
) -> Result<FileSummary> {
    let mut file = File::open(path).map_err(Error::io(path, "read"))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        interrupt.check(|| "nothing was changed".into())?;
        match file.read(&mut buffer).map_err(Error::io(path, "read"))? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}
