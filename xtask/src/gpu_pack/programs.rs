//! Builds the programs of a pack and strips their symbols.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;
use crate::error::{Error, Result};
use crate::setup::Libtorch;

/// The name of each program in the pack, and how cargo builds it.
pub const PROGRAMS: [(&str, &[&str]); 4] = [
    ("reproduce", &["build", "--release", "--bin", "reproduce"]),
    ("qrnn-bench", &["build", "--release", "--package", "qrnn-bench"]),
    ("tests-qrnn", &["test", "--release", "--package", "qrnn", "--lib", "--no-run"]),
    ("tests-qrnn-ops", &["test", "--release", "--package", "qrnn-ops", "--lib", "--no-run"]),
];

/// The name of each program in the pack and its path.
pub fn build(libtorch: Libtorch) -> Result<Vec<(&'static str, PathBuf)>> {
    let build = |(name, args): (&'static str, &[&str])| {
        let artifacts = cargo::build(libtorch, args[0], &args[1..])?;
        Ok((name, cargo::program(artifacts, name)?))
    };
    PROGRAMS.into_iter().map(build).collect()
}

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
