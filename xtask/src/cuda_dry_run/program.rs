//! Runs a program on the stand-ins and collects what is wrong with the run.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err::File;

use super::log::{self, Event};
use crate::error::{Error, Result};

/// The folder that replaces the user's cache.
pub const CACHE: &str = "cache";

pub struct StandIns {
    /// For LD_PRELOAD.
    pub preload: OsString,
    /// For LD_LIBRARY_PATH: folders of the stand-ins and of the real libraries.
    pub libraries: OsString,
    /// For logs and outputs.
    pub folder: PathBuf,
}

pub struct Run {
    pub events: Vec<Event>,
    pub complaints: Vec<String>,
}

impl StandIns {
    /// Runs a program with these arguments. Its files begin with `name`.
    pub fn run(&self, name: &str, program: &Path, arguments: &[OsString]) -> Result<Run> {
        let [log, stdout, stderr] =
            ["log", "out", "err"].map(|extension| self.folder.join(format!("{name}.{extension}")));
        // A log of an earlier run would hide that this one wrote none.
        if log.exists() {
            fs_err::remove_file(&log)?;
        }
        let status = Command::new(program)
            .args(arguments)
            .env("LD_PRELOAD", &self.preload)
            .env("LD_LIBRARY_PATH", &self.libraries)
            .env("QRNN_CUDA_LOG", &log)
            // Not the user's cache, which may hold compiled kernels: NVRTC must work here too.
            .env("XDG_CACHE_HOME", self.folder.join(CACHE))
            // The self-test compares a GPU's results with the CPU's; stand-ins have none.
            .env("QRNN_SKIP_SELF_TEST", "1")
            .env_remove("QRNN_CUDA")
            .stdout(File::create(&stdout)?.into_file())
            .stderr(File::create(&stderr)?.into_file())
            .status()
            .map_err(Error::io(program, "run"))?;
        let written = fs_err::read(&stderr)?;
        let mut complaints = foreign_lines(&String::from_utf8_lossy(&written));
        if !status.success() {
            complaints.insert(0, format!("it ends with {status}; see {}", stderr.display()));
        }
        if !log.exists() {
            return Err(Error::machine(
                format!("{name}: the program did not load the stand-ins; see {}", stderr.display()),
                "run it again with --keep, and report this",
            ));
        }
        Ok(Run { events: log::read(&log)?, complaints })
    }
}

/// A search path of these folders, then the user's.
pub fn search_path(folders: &[PathBuf], users: Option<&OsStr>) -> OsString {
    let mut all: Vec<&OsStr> = folders.iter().map(|folder| folder.as_os_str()).collect();
    all.extend(users.filter(|users| !users.is_empty()));
    all.join(OsStr::new(":"))
}

/// Warnings and errors on standard error: libtorch's begin with a letter and the date or name a source
/// file.
fn foreign_lines(said: &str) -> Vec<String> {
    let is_foreign = |line: &&str| {
        let logged = line.strip_prefix("[W").or(line.strip_prefix("[E"));
        logged.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            || line.contains("Warning:")
            || line.contains(".cpp:")
            || line.starts_with("error:")
            || line.contains("panicked at")
    };
    let mut lines: Vec<String> = vec![];
    let mut repeated = 0;
    for line in said.lines().filter(is_foreign) {
        // Without the date in brackets, so that repetitions are recognized.
        let words = line.split_once("] ").map_or(line, |(_, words)| words);
        if lines.iter().any(|other| other.contains(words)) {
            repeated += 1;
        } else {
            lines.push(format!("on standard error: {line}"));
        }
    }
    if repeated > 0 {
        lines.push(format!("and {repeated} more such lines"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn warnings_are_told_once_and_progress_is_not() {
        let said = "the device's ceilings ...\nours, Float ...\nepoch 1 of 20: loss 5.2\n\
            [W1126 09:55:59.123 Memory.cpp:12] Warning: pin_memory (function operator())\n\
            [W1126 09:56:00.456 Memory.cpp:12] Warning: pin_memory (function operator())\n";
        let lines = foreign_lines(said);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("pin_memory") && lines[1].contains("1 more"), "{lines:?}");
        assert_eq!(foreign_lines("error: CUDA: no\n").len(), 1);
        assert_eq!(foreign_lines("turn 0 of 1 ...\n[Weights] are saved\n"), Vec::<String>::new());
    }

    /// A warm cache would hide that kernels cannot be compiled.
    #[test]
    fn runs_have_a_cache_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let text = "#!/bin/sh\n: >\"$QRNN_CUDA_LOG\"\necho \"error: $XDG_CACHE_HOME\" >&2\n";
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let nothing = OsString::new();
        let on_stand_ins =
            StandIns { preload: nothing.clone(), libraries: nothing, folder: folder.path().into() };
        let run = on_stand_ins.run("name", &path, &[]).unwrap();
        let cache = folder.path().join(CACHE);
        assert_eq!(run.complaints, [format!("on standard error: error: {}", cache.display())]);
    }

    #[test]
    fn the_users_search_path_comes_last() {
        let folders = [PathBuf::from("/a"), PathBuf::from("/b")];
        assert_eq!(search_path(&folders, Some(OsStr::new("/c:/d"))), "/a:/b:/c:/d");
        assert_eq!(search_path(&folders, Some(OsStr::new(""))), "/a:/b");
        assert_eq!(search_path(&folders, None), "/a:/b");
    }
}
