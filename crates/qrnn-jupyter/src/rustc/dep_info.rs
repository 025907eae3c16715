//! The files and variables that rustc read for a cell, as its dep-info names them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Beside the file that evcxr writes.
#[derive(Debug, Default, PartialEq)]
pub struct ReadFiles {
    pub files: Vec<PathBuf>,
    /// Of the environment.
    pub variables: Vec<String>,
}

impl ReadFiles {
    /// What rustc wrote where these arguments have it write.
    ///
    /// # Errors
    /// Where there is no such file: nobody could tell later whether one has changed.
    pub fn of(args: &[OsString]) -> std::io::Result<Self> {
        let after = |flag: &str| {
            let mut pairs = args.windows(2).filter(move |pair| pair[0] == flag);
            pairs.next().map(|pair| &pair[1])
        };
        let folder = after("--out-dir").map_or(Path::new("."), Path::new);
        let name = after("--crate-name").and_then(|name| name.to_str()).unwrap_or_default();
        let mut suffix =
            args.iter().filter_map(|arg| arg.to_str()?.strip_prefix("extra-filename="));
        let file = folder.join(format!("{name}{}.d", suffix.next_back().unwrap_or_default()));
        let text = std::fs::read_to_string(&file).map_err(|error| {
            std::io::Error::new(error.kind(), format!("{}: {error}", file.display()))
        })?;
        Ok(Self::in_text(&text))
    }

    fn in_text(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            if let Some(variable) = line.strip_prefix("# env-dep:") {
                // Cargo's own are the same for all cells.
                let name = variable.split('=').next().unwrap_or_default();
                if !name.starts_with("CARGO") {
                    read.variables.push(name.to_owned());
                }
            } else if let Some(file) = line.strip_suffix(':') {
                // Each file has a line of its own behind those of what was made.
                let file = file.replace("\\ ", " ");
                if file != "src/lib.rs" {
                    read.files.push(file.into());
                }
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_variables_are_found() {
        let text = "/t/libctx.so: src/lib.rs /a/my\\ m.rs src/x.txt\n\n\
            /t/ctx.d: src/lib.rs /a/my\\ m.rs src/x.txt\n\n\
            src/lib.rs:\n/a/my\\ m.rs:\nsrc/x.txt:\n\n\
            # env-dep:CARGO_PKG_NAME=ctx\n# env-dep:SIZE=4\n# env-dep:NONE\n";
        let read = ReadFiles::in_text(text);
        assert_eq!(read.files, [PathBuf::from("/a/my m.rs"), "src/x.txt".into()]);
        assert_eq!(read.variables, ["SIZE", "NONE"]);
    }

    #[test]
    fn the_file_lies_where_rustc_was_told() {
        let folder = tempfile::tempdir().unwrap();
        let args = |suffix: &str| {
            let out = folder.path().to_str().unwrap();
            ["--crate-name", "ctx", "-C", suffix, "--out-dir", out].map(OsString::from)
        };
        assert!(ReadFiles::of(&args("x")).is_err());
        std::fs::write(folder.path().join("ctx-1.d"), "m.rs:\n").unwrap();
        let read = ReadFiles::of(&args("extra-filename=-1")).unwrap();
        assert_eq!(read.files, [PathBuf::from("m.rs")]);
    }
}
