//! Compares files with the published ones.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha2::digest::DynDigest;

use super::dataset::{Archive, DataFile};
use crate::data::reader::{self, EOS};
use crate::data::vocab::Vocab;
use crate::interrupt::Interrupt;
use crate::{Error, Result};

/// Names of algorithms, and checksums in lower-case hexadecimal.
pub(super) type Checksums = Vec<(&'static str, String)>;

impl Archive {
    pub(super) fn published(&self) -> Checksums {
        let sha256 = self.sha256.clone().map(|sum| ("sha256", sum));
        std::iter::once(("md5", self.md5.clone())).chain(sha256).collect()
    }
}

/// The checksums of a file with the algorithms of the published ones.
pub(super) fn checksums(
    path: &Path,
    published: &Checksums,
    interrupt: &Interrupt,
) -> Result<Checksums> {
    let mut file = File::open(path).map_err(Error::io(path, "read"))?;
    let algorithm = |name| -> Box<dyn DynDigest> {
        match name {
            "md5" => Box::new(Md5::default()),
            "sha1" => Box::new(Sha1::default()),
            _ => Box::new(Sha256::default()),
        }
    };
    let mut sums: Vec<_> = published.iter().map(|(name, _)| (*name, algorithm(*name))).collect();
    let mut buffer = vec![0; 1 << 20];
    loop {
        interrupt.check(|| "nothing was changed".into())?;
        let read = file.read(&mut buffer).map_err(Error::io(path, "read"))?;
        if read == 0 {
            break;
        }
        sums.iter_mut().for_each(|(_, sum)| sum.update(&buffer[..read]));
    }
    let hexadecimal = |sum: &[u8]| sum.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(sums.into_iter().map(|(name, sum)| (name, hexadecimal(&sum.finalize()))).collect())
}

/// Describes the first difference between checksums of the same algorithms.
pub(super) fn difference(published: &Checksums, actual: &Checksums) -> Option<String> {
    let ((name, expected), (_, actual)) =
        published.iter().zip(actual).find(|(expected, actual)| expected != actual)?;
    Some(format!("expected {name} {expected}, got {actual}"))
}

/// Describes the first difference between a file and a published text.
pub(super) fn text_difference(
    path: &Path,
    expected: &DataFile,
    interrupt: &Interrupt,
) -> Result<Option<String>> {
    let data = fs::metadata(path).map_err(Error::io(path, "read"))?;
    if !data.is_file() {
        return Ok(Some("it is not a file".into()));
    }
    // A wrong size saves the computation of the checksum.
    let (bytes, wanted) = (data.len(), expected.bytes.unwrap_or(expected.max_bytes));
    if bytes > wanted || expected.bytes.is_some_and(|exact| bytes < exact) {
        return Ok(Some(format!("it has {bytes} bytes, not {wanted}")));
    }
    let sums = [("sha256", &expected.sha256), ("sha1", &expected.sha1)];
    let published = sums.into_iter().filter_map(|(name, sum)| Some((name, sum.clone()?))).collect();
    if let Some(difference) = difference(&published, &checksums(path, &published, interrupt)?) {
        return Ok(Some(difference));
    }
    if expected.lines.or(expected.tokens).is_none() {
        return Ok(None);
    }
    // The tokenizer itself counts, so that what is verified is what a corpus will hold.
    let mut vocab = Vocab::default();
    let tokens = match reader::text(path, &mut vocab, 1) {
        Err(Error::BadFile { problem, .. }) => return Ok(Some(format!("it {problem}"))),
        tokens => tokens?,
    };
    let eos = vocab.id(EOS);
    let lines = tokens.iter().filter(|id| Some(**id) == eos).count();
    let counts = [("lines", expected.lines, lines), ("tokens", expected.tokens, tokens.len())];
    let different = |(name, wanted, actual): (_, Option<u64>, usize)| {
        let wanted = wanted.filter(|wanted| *wanted != actual as u64)?;
        Some(format!("expected {wanted} {name}, got {actual}"))
    };
    Ok(counts.into_iter().find_map(different))
}
