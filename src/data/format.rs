//! Detection of files that are not plain UTF-8 text, for error messages.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::Path;

use crate::{Error, Result};

/// Bytes examined; the magic number of a tar archive is at offset 257.
const HEAD_BYTES: u64 = 4096;

/// A format's name, and the command that converts it to text: `{}` stands for the path.
type Format = (&'static str, &'static str);

/// For formats without a conversion command.
const NO_COMMAND: &str = "";

const UTF16: Format = ("text in UTF-16", "iconv -f UTF-16 -t UTF-8 {}");
const UTF32: Format = ("text in UTF-32", "iconv -f UTF-32 -t UTF-8 {}");

/// The first and the last bytes of a Parquet table.
const PARQUET: &[u8] = b"PAR1";

/// The remedy for a file that was not copied whole.
const COPY_AGAIN: &str = "copy or download the file again";

/// Formats with a magic number at the start.
const MAGIC_NUMBERS: [(&[u8], Format); 15] = [
    (b"\xff\xfe\0\0", UTF32),
    (b"\0\0\xfe\xff", UTF32),
    (b"\xff\xfe", UTF16),
    (b"\xfe\xff", UTF16),
    (b"\x1f\x8b", ("compressed by gzip", "gzip -dc {}")),
    (b"BZh", ("compressed by bzip2", "bzip2 -dc {}")),
    (b"\xfd7zXZ\0", ("compressed by xz", "xz -dc {}")),
    (b"\x28\xb5\x2f\xfd", ("compressed by zstd", "zstd -dc {}")),
    (b"PK\x03\x04", ("a zip archive", "unzip -p {}")),
    (b"7z\xbc\xaf\x27\x1c", ("a 7-Zip archive", "7z x -so {}")),
    (PARQUET, ("a Parquet table", NO_COMMAND)),
    (b"ARROW1", ("an Arrow table", NO_COMMAND)),
    (b"%PDF-", ("a PDF document", "pdftotext {} -")),
    (
        b"version https://git-lfs.github.com/spec/",
        ("a Git LFS pointer, not the text itself", "git lfs pull"),
    ),
    (b"/annex/objects/", ("a git-annex pointer, not the text itself", "git annex get {}")),
];

/// Checks that a path is an ordinary file whose first bytes look like plain text. Reading a pipe or a
/// device could block forever.
///
/// # Errors
/// [`Error::BadFile`] with the detected format; [`Error::Io`] if the file cannot be read.
pub(super) fn check(path: &Path) -> Result<()> {
    let start = start_of_file(path)?;
    format_of(&start).map_or(Ok(()), |format| Err(wrong_format(path, format)))
}

/// Checks that a path is an ordinary file that begins and ends like a Parquet table.
///
/// # Errors
/// As [`check`].
pub(super) fn check_parquet(path: &Path) -> Result<()> {
    let start = start_of_file(path)?;
    if !start.starts_with(PARQUET) {
        return Err(match format_of(&start) {
            _ if start.is_empty() => Error::bad_file(path, "is empty", COPY_AGAIN),
            Some(format) => wrong_format(path, format),
            None => Error::bad_file(path, "is not a Parquet table", COPY_AGAIN),
        });
    }
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    let bytes = file.metadata().map_err(Error::io(path, "read"))?.len();
    let mut end = [0; PARQUET.len()];
    let offset = bytes.saturating_sub(end.len() as u64);
    file.read_exact_at(&mut end, offset).map_err(Error::io(path, "read"))?;
    match &end[..] {
        PARQUET => Ok(()),
        _ => Err(Error::bad_file(
            path,
            "is truncated: it begins as a Parquet table and does not end as one",
            COPY_AGAIN,
        )),
    }
}

/// The first bytes of an ordinary file.
fn start_of_file(path: &Path) -> Result<Vec<u8>> {
    let kind = fs::metadata(path).map_err(Error::io(path, "read"))?.file_type();
    let special = [
        (kind.is_dir(), "folder"),
        (kind.is_fifo(), "named pipe"),
        (kind.is_socket(), "socket"),
        (kind.is_char_device() || kind.is_block_device(), "device"),
    ];
    if let Some((_, special)) = special.iter().find(|(is, _)| *is) {
        return Err(Error::bad_file(
            path,
            format!("is a {special}, not a file of text"),
            "replace it with an ordinary file",
        ));
    }
    let mut start = vec![];
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    file.take(HEAD_BYTES).read_to_end(&mut start).map_err(Error::io(path, "read"))?;
    Ok(start)
}

fn wrong_format(path: &Path, (name, remedy): Format) -> Error {
    let remedy = match remedy {
        NO_COMMAND => "write its text to a UTF-8 file, one paragraph per line".to_owned(),
        command if command.contains("{}") => {
            let command = command.replace("{}", &quoted(path));
            let target = path.file_name().unwrap_or_default().to_string_lossy();
            format!("replace it with the output of: {command} > /tmp/{target}")
        }
        command => format!("run `{command}` in its folder"),
    };
    Error::bad_file(path, format!("is {name}"), remedy)
}

fn format_of(start: &[u8]) -> Option<Format> {
    if let Some((_, format)) = MAGIC_NUMBERS.iter().find(|(bytes, _)| start.starts_with(bytes)) {
        return Some(*format);
    }
    if start.get(257..262) == Some(b"ustar") {
        return Some(("a tar archive", "tar -xOf {}"));
    }
    let page = start.trim_ascii_start().to_ascii_lowercase();
    if page.starts_with(b"<!doctype html") || page.starts_with(b"<html") {
        return Some(("an HTML page, perhaps a server's error message", NO_COMMAND));
    }
    // In UTF-16, spaces and the letters of most scripts have one zero byte; UTF-8 text has hardly any.
    let zeros =
        |first: usize| start.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, all) = (zeros(0), zeros(1), start.len());
    if odd * 8 > all && even * 8 < odd {
        Some(("text in UTF-16", "iconv -f UTF-16LE -t UTF-8 {}"))
    } else if even * 8 > all && odd * 8 < even {
        Some(("text in UTF-16", "iconv -f UTF-16BE -t UTF-8 {}"))
    } else if (even + odd) * 8 > all {
        Some(("binary data, not text", NO_COMMAND))
    } else {
        None
    }
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@".contains(c);
    if path.chars().all(plain) { path.into() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Corpus;

    /// BUGS A6.
    #[test]
    fn files_that_are_not_text_are_identified() {
        let folder = tempfile::tempdir().unwrap();
        for split in ["valid", "test"] {
            fs::write(folder.path().join(format!("{split}.txt")), "a b\nb a\n").unwrap();
        }
        let train = folder.path().join("train.txt");
        let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(bytes).collect()
        };
        let text = "the cat sat\non the mat\n";
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 5408\n";
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, format, command) in [
            (utf16(&format!("\u{feff}{text}"), u16::to_le_bytes), "UTF-16", "-f UTF-16 "),
            (utf16(&format!("\u{feff}{text}"), u16::to_be_bytes), "UTF-16", "-f UTF-16 "),
            (utf16(text, u16::to_le_bytes), "UTF-16", "-f UTF-16LE "),
            (utf16(text, u16::to_be_bytes), "UTF-16", "-f UTF-16BE "),
            (b"\x1f\x8b\x08\0\0\0\0\0\0\x03KL".to_vec(), "gzip", "gzip -dc"),
            (b"PK\x03\x04abc".to_vec(), "zip archive", "unzip -p"),
            (b"\x28\xb5\x2f\xfdabc".to_vec(), "zstd", "zstd -dc"),
            (tar, "tar archive", "tar -xOf"),
            (pointer.into(), "Git LFS", "git lfs pull"),
            (b"\n<!DOCTYPE HTML>\n<p>403\n".to_vec(), "HTML", "UTF-8"),
            (b"a\0\0\0b\0\0\0\n\0\0\0c\0\0\0".to_vec(), "binary", "UTF-8"),
        ] {
            fs::write(&train, &bytes).unwrap();
            let error = Corpus::from_dir(folder.path()).unwrap_err().to_string();
            assert!(error.contains("train.txt: is ") && error.contains(format), "{error}");
            assert!(error.contains(command) && !error.contains("LATIN1"), "{error}");
        }
        // An occasional zero byte is part of a word, as in Python.
        fs::write(&train, "a b\0 c\nthe cat sat on the mat\n").unwrap();
        Corpus::from_dir(folder.path()).unwrap();
    }

    #[test]
    fn a_pipe_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("train.txt");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        let error = check(&pipe).unwrap_err().to_string();
        assert!(error.contains("is a named pipe"), "{error}");
        let error = check(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(error.contains("is a device"), "{error}");
    }

    #[test]
    fn a_path_is_quoted_for_the_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
        assert_eq!(quoted(Path::new("/data/train.txt")), "/data/train.txt");
    }
}
