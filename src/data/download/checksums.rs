//! Checksums and counts of what was fetched.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::dataset::{Archive, DataFile};
use super::token_counts::Count;
use crate::interrupt::Interrupt;
use crate::{Error, Result};

/// Takes in a file piece by piece.
#[derive(Default)]
pub(super) struct Taker {
    bytes: u64,
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
    count: Option<Count>,
}

/// What a file turned out to be; sums in lower-case hexadecimal digits.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub bytes: u64,
    pub md5: Option<String>,
    pub sha1: Option<String>,
    pub sha256: Option<String>,
    pub lines: Option<u64>,
    pub tokens: Option<u64>,
}

impl Taker {
    /// For an archive: MD5 and SHA-256.
    pub fn of_archive() -> Self {
        Self { md5: Some(Md5::new()), sha256: Some(Sha256::new()), ..Self::default() }
    }

    /// For a text: what is known of it to compare with.
    pub fn of_text(file: &DataFile) -> Self {
        Self {
            sha1: file.sha1.as_ref().map(|_| Sha1::new()),
            sha256: file.sha256.as_ref().map(|_| Sha256::new()),
            count: (file.lines.is_some() || file.tokens.is_some()).then(Count::default),
            ..Self::default()
        }
    }

    pub fn take(&mut self, bytes: &[u8]) {
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
            count.take(bytes);
        }
    }

    pub fn facts(self) -> Facts {
        let count = self.count.map(Count::end);
        Facts {
            bytes: self.bytes,
            md5: self.md5.map(|sum| hexadecimal(&sum.finalize())),
            sha1: self.sha1.map(|sum| hexadecimal(&sum.finalize())),
            sha256: self.sha256.map(|sum| hexadecimal(&sum.finalize())),
            lines: count.map(|(lines, _)| lines),
            tokens: count.map(|(lines, words)| lines + words),
        }
    }
}

impl Facts {
    /// How a text differs from what is known of it, `None` where it does not.
    pub fn differ(&self, known: &DataFile) -> Option<String> {
        let number = |name, known: Option<u64>, got: Option<u64>| {
            known
                .filter(|known| Some(*known) != got)
                .map(|known| format!("expected {known} {name}, got {}", got.unwrap_or_default()))
        };
        number("bytes", known.bytes, Some(self.bytes))
            .or_else(|| other("sha256", &known.sha256, &self.sha256))
            .or_else(|| other("sha1", &known.sha1, &self.sha1))
            .or_else(|| number("lines", known.lines, self.lines))
            .or_else(|| number("words (<eos> counted)", known.tokens, self.tokens))
    }

    /// How an archive differs from the published one, `None` where it does not.
    pub fn differ_from_archive(&self, known: &Archive) -> Option<String> {
        other("md5", &Some(known.md5.clone()), &self.md5)
            .or_else(|| other("sha256", &known.sha256, &self.sha256))
    }
}

fn other(name: &str, known: &Option<String>, got: &Option<String>) -> Option<String> {
    let known = known.as_ref().filter(|known| Some(*known) != got.as_ref())?;
    Some(format!("expected {name} {known}, got {}", got.as_deref().unwrap_or("none")))
}

fn hexadecimal(sum: &[u8]) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a file to its end.
///
/// # Errors
/// [`Error::Io`]; [`Error::Interrupted`].
pub(super) fn of_file(path: &Path, mut taker: Taker, interrupt: &Interrupt) -> Result<Facts> {
    let mut file = File::open(path).map_err(Error::io(path, "read"))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        interrupt.check(|| "nothing was changed".into())?;
        match file.read(&mut buffer).map_err(Error::io(path, "read"))? {
            0 => return Ok(taker.facts()),
            n => taker.take(&buffer[..n]),
        }
    }
}
