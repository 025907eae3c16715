//! The programs of a pack: built as everybody's, then stripped of what only a debugger reads.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;
use crate::error::{Error, Result};
use crate::setup::Libtorch;

/// The name of each in the pack, and the arguments that have cargo build it and tell where it lies.
const PROGRAMS: [(&str, &[&str]); 2] = [
    ("reproduce", &["build", "--release", "--bin", "reproduce", "--message-format", JSON]),
    ("tests", &["test", "--release", "--lib", "--no-run", "--message-format", JSON]),
];

const JSON: &str = "json-render-diagnostics";

/// Builds the programs, and tells the name of each in the pack and where it lies; `None` where cargo
/// failed, and has said why.
///
/// # Errors
/// Where cargo cannot be run, or tells of no program.
pub fn build(libtorch: Libtorch) -> Result<Option<Vec<(&'static str, PathBuf)>>> {
    let mut built = vec![];
    for (name, args) in PROGRAMS {
        let Some(programs) = cargo::programs(libtorch, args)? else { return Ok(None) };
        let [program] = programs.as_slice() else {
            let what = format!("cargo tells of {} programs where {name} was built", programs.len());
            return Err(Error::machine(what, "report this with the version of cargo"));
        };
        built.push((name, program.clone()));
    }
    Ok(Some(built))
}

/// Writes a program to `place` without its symbols.
///
/// # Errors
/// Where `strip` is missing or fails.
pub fn strip(program: &Path, place: &Path) -> Result<()> {
    let status = Command::new("strip").arg("-o").arg(place).arg(program).status();
    if status.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(Error::machine(
        format!("strip cannot write {} to {}", program.display(), place.display()),
        "install it (Debian: apt-get install binutils), and check that there is space",
    ))
}
