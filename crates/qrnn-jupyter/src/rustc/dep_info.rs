//! The files and environment variables that rustc read for a cell (its dep-info file).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(Debug, Default, PartialEq)]
pub struct DepInfo {
    /// Besides the cell's own `src/lib.rs`.
    pub files: Vec<PathBuf>,
    pub variables: Vec<String>,
}

impl DepInfo {
    /// Reads the file that rustc wrote with these arguments. A missing file is an error, because
    /// changes could not be noticed later.
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
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for line in text.lines() {
            if let Some(variable) = line.strip_prefix("# env-dep:") {
                let name = variable.split('=').next().unwrap_or_default();
                // Cargo's variables are the same for all cells.
                if !name.starts_with("CARGO") {
                    info.variables.push(name.to_owned());
                }
            } else if let Some(file) = line.strip_suffix(':') {
                // After the rules for its outputs, rustc writes an empty rule for each file.
                let file = file.replace("\\ ", " ");
                if file != "src/lib.rs" {
                    info.files.push(file.into());
                }
            }
        }
        info
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
        let read = DepInfo::parse(text);
        assert_eq!(read.files, [PathBuf::from("/a/my m.rs"), "src/x.txt".into()]);
        assert_eq!(read.variables, ["SIZE", "NONE"]);
    }

    #[test]
    fn the_file_is_found_by_the_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let args = |suffix: &str| {
            let out = folder.path().to_str().unwrap();
            ["--crate-name", "ctx", "-C", suffix, "--out-dir", out].map(OsString::from)
        };
        assert!(DepInfo::of(&args("x")).is_err());
        std::fs::write(folder.path().join("ctx-1.d"), "m.rs:\n").unwrap();
        let read = DepInfo::of(&args("extra-filename=-1")).unwrap();
        assert_eq!(read.files, [PathBuf::from("m.rs")]);
    }
}
