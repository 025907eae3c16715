//! Installs the sources of Rust's standard library, which the kernel's completion reads.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::terminal;

/// Installs rustup's component rust-src where it is missing. A failure is only reported: the kernel works
/// without it.
pub fn install() {
    match ensure(&std::env::var_os("PATH").unwrap_or_default()) {
        Ok(false) => {}
        Ok(true) => terminal::note("  rust-src is installed"),
        Err(error) => terminal::note(format_args!(
            "note: rust-src is missing, so completion and inspection in notebooks will not know the \
             standard library: {error}"
        )),
    }
}

/// Uses the rustc and rustup on this search path; whether it installed the sources.
fn ensure(path: &OsStr) -> Result<bool> {
    let program = |name: &str| {
        let mut command = Command::new(name);
        command.env("PATH", path).stdin(Stdio::null());
        command
    };
    let by_hand = |why: String| {
        Error::machine(
            why,
            "install Rust with rustup (https://rustup.rs), or your system's package of these sources \
             (Debian: rust-src)",
        )
    };
    let output = program("rustc").args(["--print", "sysroot"]).output();
    let output = output.map_err(|error| by_hand(format!("rustc cannot be run: {error}")))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(by_hand(format!("rustc does not print its sysroot: {}", said.trim())));
    }
    if has_sources(&sysroot) {
        return Ok(false);
    }
    // Named, because another toolchain may be set for this folder.
    let toolchain = toolchain(&sysroot)
        .ok_or_else(|| by_hand(format!("{} was not installed by rustup", sysroot.display())))?;
    let arguments = ["component", "add", "rust-src", "--toolchain", toolchain];
    let line = format!("rustup {}", arguments.join(" "));
    terminal::note(format_args!(
        "installing the sources of the standard library, for completion in notebooks: {line}"
    ));
    let status = program("rustup").args(arguments).status();
    let status = status.map_err(|error| by_hand(format!("rustup cannot be run: {error}")))?;
    if !status.success() {
        let remedy = format!("run `{line}` and read its output");
        return Err(Error::machine(format!("`{line}` failed ({status})"), remedy));
    }
    if !has_sources(&sysroot) {
        return Err(by_hand(format!("`{line}` did not put them into {}", sysroot.display())));
    }
    Ok(true)
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

/// The toolchain's name, if rustup installed it.
fn toolchain(sysroot: &Path) -> Option<&str> {
    sysroot.parent()?.ends_with("toolchains").then(|| sysroot.file_name()?.to_str())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A folder with a toolchain as rustup has it, and fake rustc and rustup.
    struct Machine {
        folder: tempfile::TempDir,
    }

    impl Machine {
        fn new(toolchains: &str, rustup: Option<&str>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let machine = Self { folder };
            let sysroot = machine.folder.path().join(toolchains).join("1.2.3-x86_64");
            fs::create_dir_all(&sysroot).unwrap();
            machine.program("rustc", &format!("echo {}", sysroot.display()));
            if let Some(rustup) = rustup {
                let library = sysroot.join("lib/rustlib/src/rust/library/core/src");
                let log = machine.folder.path().join("log");
                machine.program(
                    "rustup",
                    &format!(
                        "LIBRARY={}\necho \"$@\" >> {}\n{rustup}",
                        library.display(),
                        log.display()
                    ),
                );
            }
            machine
        }

        fn program(&self, name: &str, script: &str) {
            let path = self.folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn ensure(&self) -> Result<bool> {
            let mut path = OsString::from(self.folder.path());
            path.push(":/usr/bin:/bin");
            ensure(&path)
        }

        fn asked(&self) -> String {
            fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
        }
    }

    const INSTALLS: &str = "mkdir -p $LIBRARY && touch $LIBRARY/lib.rs";

    #[test]
    fn rustup_installs_it_once_for_the_toolchain_that_is_used() {
        let machine = Machine::new("toolchains", Some(INSTALLS));
        assert!(machine.ensure().unwrap());
        assert_eq!(machine.asked(), "component add rust-src --toolchain 1.2.3-x86_64\n");
        assert!(!machine.ensure().unwrap());
        assert_eq!(machine.asked().lines().count(), 1);
    }

    #[test]
    fn a_rustup_that_fails_is_named() {
        for rustup in ["exit 1", "exit 0"] {
            let machine = Machine::new("toolchains", Some(rustup));
            let why = machine.ensure().unwrap_err().to_string();
            assert!(why.contains("rustup component add rust-src"), "{why}");
        }
    }

    #[test]
    fn without_rustup_it_is_said_what_is_missing() {
        let machine = Machine::new("toolchains", None);
        let path = OsString::from(machine.folder.path());
        let why = ensure(&path).unwrap_err().to_string();
        assert!(why.contains("rustup cannot be run") && why.contains("rustup.rs"), "{why}");
        // Rust from the system's package manager.
        let machine = Machine::new("usr", Some(INSTALLS));
        let why = machine.ensure().unwrap_err().to_string();
        assert!(why.contains("not installed by rustup"), "{why}");
        assert_eq!(machine.asked(), "");
    }

    #[test]
    fn without_rustc_nothing_is_installed() {
        let empty = tempfile::tempdir().unwrap();
        let why = ensure(empty.path().as_os_str()).unwrap_err().to_string();
        assert!(why.contains("rustc cannot be run"), "{why}");
    }
}
