//! What set-up needs of the machine, looked at before anything is downloaded.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::pins::{DISK, RELEASE};

/// # Errors
/// The first thing that is missing, with what to do about it.
pub fn check(root: &Path) -> Result<()> {
    platform(std::env::consts::OS, std::env::consts::ARCH)?;
    python("python3")?;
    compiler_of_environment()?;
    enough(root, free(root)?)
}

/// # Errors
/// Where there is no C++ compiler; needed whatever libtorch is used.
pub fn compiler_of_environment() -> Result<()> {
    let chosen = std::env::var_os("CXX").filter(|chosen| !chosen.is_empty());
    compiler(chosen.as_deref(), &["c++", "g++", "clang++"])
}

fn platform(os: &str, arch: &str) -> Result<()> {
    if (os, arch) == ("linux", "x86_64") {
        return Ok(());
    }
    Err(Error::machine(
        format!("the pinned libtorch is for Linux on x86-64; this is {os} on {arch}"),
        format!("unpack a libtorch {RELEASE} for this machine and set LIBTORCH to its folder"),
    ))
}

/// Whether a program runs and ends well.
fn runs(program: &OsStr, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn python(python: &str) -> Result<()> {
    if !runs(python.as_ref(), &["--version"]) {
        return Err(Error::machine(
            format!("{python} is not to be found; it downloads libtorch"),
            "install Python 3 with pip (Debian: apt-get install python3-pip)",
        ));
    }
    if !runs(python.as_ref(), &["-m", "pip", "--version"]) {
        return Err(Error::machine(
            format!("{python} has no pip; it downloads libtorch"),
            "install pip (Debian: apt-get install python3-pip; else: python3 -m ensurepip)",
        ));
    }
    Ok(())
}

fn compiler(chosen: Option<&OsStr>, usual: &[&str]) -> Result<()> {
    let found = match chosen {
        Some(chosen) => runs(chosen, &["--version"]),
        None => usual.iter().any(|name| runs(name.as_ref(), &["--version"])),
    };
    if found {
        return Ok(());
    }
    Err(Error::machine(
        match chosen {
            Some(chosen) => format!("CXX is {}, which does not run", chosen.display()),
            None => "no C++ compiler is to be found; it compiles tch and the autograd shim".into(),
        },
        "install one (Debian: apt-get install g++), or set CXX to yours",
    ))
}

/// Bytes that a user may still write.
fn free(folder: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| Error::io(folder, "measure free space")(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn enough(folder: &Path, free: u64) -> Result<()> {
    if free >= DISK {
        return Ok(());
    }
    Err(Error::machine(
        format!(
            "{} has {} MB free; libtorch takes {} MB while it is set up",
            folder.display(),
            free / 1_000_000,
            DISK / 1_000_000
        ),
        "free some space, or clone to a larger disk",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_thing_is_named_with_a_remedy() {
        for (error, names) in [
            (platform("macos", "aarch64").unwrap_err(), "macos on aarch64"),
            (python("no-such-python").unwrap_err(), "no-such-python"),
            (python("false").unwrap_err(), "false"),
            (enough(Path::new("/small"), DISK - 1).unwrap_err(), "/small has 1199 MB free"),
            (compiler(None, &["no-such-c++"]).unwrap_err(), "C++ compiler"),
            (compiler(Some("no-such-cxx".as_ref()), &["true"]).unwrap_err(), "no-such-cxx"),
        ] {
            let message = error.to_string();
            assert!(message.contains(names) && message.contains("what to do"), "{message}");
        }
        compiler(None, &["no-such-c++", "true"]).unwrap();
        platform("linux", "x86_64").unwrap();
        enough(Path::new("/large"), DISK).unwrap();
        assert!(free(Path::new("/")).is_ok());
    }
}
