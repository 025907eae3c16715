//! Checks the machine before anything is downloaded: platform, Python, C++ compiler, disk.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::setup::pins::RELEASE;
use crate::terminal;

/// Bytes that a release build and its tests take after set-up.
const BUILD_DISK: u64 = 2_000_000_000;

/// `disk`: bytes that set-up will take.
pub fn check(root: &Path, disk: u64) -> Result<()> {
    platform(std::env::consts::OS, std::env::consts::ARCH)?;
    python("python3")?;
    compiler_of_environment()?;
    let free = free(root)?;
    enough(root, free, disk)?;
    if free < disk + BUILD_DISK {
        // Only a warning: CARGO_TARGET_DIR may be on another disk.
        terminal::note(format_args!(
            "warning: {} MB free in {}; the build takes {} MB more after set-up",
            free / 1_000_000,
            root.display(),
            BUILD_DISK / 1_000_000
        ));
    }
    Ok(())
}

pub fn compiler_of_environment() -> Result<()> {
    let chosen = std::env::var_os("CXX").filter(|chosen| !chosen.is_empty());
    compiler(chosen.as_deref(), &["g++", "clang++"])
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

fn runs(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

fn python(python: &str) -> Result<()> {
    let (lacks, remedy) = if !runs(python, &["--version"]) {
        ("was not found", "install Python 3 with pip (Debian: apt-get install python3-pip)")
    } else if !runs(python, &["-m", "pip", "--version"]) {
        let remedy =
            "install pip (Debian: apt-get install python3-pip; else: python3 -m ensurepip)";
        ("has no pip", remedy)
    } else {
        return Ok(());
    };
    Err(Error::machine(format!("{python} {lacks}; set-up downloads libtorch with it"), remedy))
}

/// Tries the compiler that the build calls: CXX, which may contain arguments, or else `c++`. `others` are
/// compilers that the message suggests for CXX.
fn compiler(chosen: Option<&OsStr>, others: &[&str]) -> Result<()> {
    let command = chosen.unwrap_or("c++".as_ref());
    let install = "install one (Debian: apt-get install g++), or set CXX to yours".to_owned();
    let (what, remedy) = match (complaint(command), chosen) {
        (Ok(None), _) => return Ok(()),
        (Ok(Some(said)), _) => (
            format!("{} cannot compile C++17 with OpenMP: {said}", command.display()),
            "install its standard library and OpenMP headers (Debian: g++ has both, clang++ needs \
             libomp-dev too), or set CXX to another compiler"
                .to_owned(),
        ),
        (Err(_), Some(chosen)) => {
            (format!("CXX is {}, which does not run", chosen.display()), install)
        }
        (Err(_), None) => match others.iter().find(|name| runs(name, &["--version"])) {
            Some(other) => (
                format!(
                    "there is no c++, which compiles tch; {other} is used only if CXX names it"
                ),
                format!("set CXX={other}"),
            ),
            None => ("no C++ compiler was found; it compiles tch and our shims".into(), install),
        },
    };
    Err(Error::machine(what, remedy))
}

/// Compiles what the shims need, without writing a file, since a compiler may lack its headers; the first
/// line that it prints if it fails.
fn complaint(command: &OsStr) -> io::Result<Option<String>> {
    // As in the cc crate: blanks separate words (`ccache g++`), unless the whole is a path.
    let text = command.to_string_lossy();
    let words: Vec<&str> =
        if Path::new(command).exists() { vec![&*text] } else { text.split_whitespace().collect() };
    let mut child = Command::new(words.first().unwrap_or(&""))
        .args(words.get(1..).unwrap_or_default())
        .args(["-std=c++17", "-fopenmp", "-fsyntax-only", "-x", "c++", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A write error means that the compiler failed; its status is read below.
        let _ = stdin.write_all(b"#include <omp.h>\n#include <vector>\n");
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it fails without a message");
    Ok((!output.status.success()).then(|| said.to_owned()))
}

/// Free bytes for this user.
fn free(folder: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| Error::io(folder, "measure free space")(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn enough(folder: &Path, free: u64, disk: u64) -> Result<()> {
    if free >= disk {
        return Ok(());
    }
    let (free, disk) = (free / 1_000_000, disk / 1_000_000);
    Err(Error::machine(
        format!("{} has {free} MB free; set-up of libtorch needs {disk} MB", folder.display()),
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
            (
                enough(Path::new("/small"), 1_199_999_999, 1_200_000_000).unwrap_err(),
                "/small has 1199 MB free",
            ),
            (compiler(Some("no-such-cxx".as_ref()), &["true"]).unwrap_err(), "no-such-cxx"),
            (compiler(Some("false".as_ref()), &[]).unwrap_err(), "false cannot compile"),
        ] {
            let message = error.to_string();
            assert!(message.contains(names) && message.contains("what to do"), "{message}");
        }
        compiler(Some("true with words".as_ref()), &[]).unwrap();
        platform("linux", "x86_64").unwrap();
        enough(Path::new("/large"), 7, 7).unwrap();
        assert!(free(Path::new("/")).is_ok());
    }
}
