//! Installs the sources of Rust's standard library, which the kernel's completion reads.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::terminal;

#[derive(Debug, PartialEq)]
enum Outcome {
    There,
    Installed,
    /// The reason, and what to do.
    Missing(String, String),
}

/// Installs rustup's component rust-src where it is missing. A failure is only reported: the kernel works
/// without it.
pub fn install() {
    match ensure(std::env::var_os("PATH").as_deref()) {
        Outcome::There => {}
        Outcome::Installed => terminal::note("  rust-src is installed"),
        Outcome::Missing(why, remedy) => terminal::note(format_args!(
            "note: rust-src is missing, so completion and inspection in notebooks will not know the \
             standard library: {why}\n  what to do: {remedy}"
        )),
    }
}

/// Uses the rustc and rustup on this search path.
fn ensure(path: Option<&OsStr>) -> Outcome {
    let program = |name: &str| {
        let mut command = Command::new(name);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        command.stdin(Stdio::null());
        command
    };
    let by_hand = "install Rust with rustup (https://rustup.rs), or your system's package of \
                   these sources (Debian: rust-src)";
    let missing = |why: String, remedy: &str| Outcome::Missing(why, remedy.to_owned());
    let sysroot = match program("rustc").args(["--print", "sysroot"]).output() {
        Ok(output) if output.status.success() => {
            PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return missing(format!("rustc does not print its sysroot: {said}"), by_hand);
        }
        Err(error) => return missing(format!("rustc cannot be run: {error}"), by_hand),
    };
    if has_sources(&sysroot) {
        return Outcome::There;
    }
    // Named, because another toolchain may be set for this folder.
    let Some(toolchain) = toolchain(&sysroot) else {
        return missing(format!("{} was not installed by rustup", sysroot.display()), by_hand);
    };
    let arguments = ["component", "add", "rust-src", "--toolchain", &toolchain];
    let line = format!("rustup {}", arguments.join(" "));
    terminal::note(format_args!(
        "installing the sources of the standard library, for completion in notebooks: {line}"
    ));
    match program("rustup").args(arguments).status() {
        Ok(status) if !status.success() => missing(
            format!("`{line}` failed ({status})"),
            &format!("run `{line}` and read its output"),
        ),
        Ok(_) if has_sources(&sysroot) => Outcome::Installed,
        Ok(_) => missing(format!("`{line}` did not put them into {}", sysroot.display()), by_hand),
        Err(error) => missing(format!("rustup cannot be run: {error}"), by_hand),
    }
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

/// The toolchain's name, if rustup installed it.
fn toolchain(sysroot: &Path) -> Option<String> {
    let folder = sysroot.parent()?.file_name()?;
    (folder == "toolchains").then(|| sysroot.file_name()?.to_str().map(str::to_owned)).flatten()
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

        fn ensure(&self) -> Outcome {
            let mut path = OsString::from(self.folder.path());
            path.push(":/usr/bin:/bin");
            ensure(Some(&path))
        }

        fn asked(&self) -> String {
            fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
        }
    }

    const INSTALLS: &str = "mkdir -p $LIBRARY && touch $LIBRARY/lib.rs";

    #[test]
    fn rustup_installs_it_once_for_the_toolchain_that_is_used() {
        let machine = Machine::new("toolchains", Some(INSTALLS));
        assert_eq!(machine.ensure(), Outcome::Installed);
        assert_eq!(machine.asked(), "component add rust-src --toolchain 1.2.3-x86_64\n");
        assert_eq!(machine.ensure(), Outcome::There);
        assert_eq!(machine.asked().lines().count(), 1);
    }

    #[test]
    fn a_rustup_that_fails_is_named() {
        for rustup in ["exit 1", "exit 0"] {
            let machine = Machine::new("toolchains", Some(rustup));
            let Outcome::Missing(why, _) = machine.ensure() else { panic!("{rustup}") };
            assert!(why.contains("rustup component add rust-src"), "{why}");
        }
    }

    #[test]
    fn without_rustup_it_is_said_what_is_missing() {
        let machine = Machine::new("toolchains", None);
        let path = OsString::from(machine.folder.path());
        let Outcome::Missing(why, remedy) = ensure(Some(&path)) else { panic!() };
        assert!(why.contains("rustup cannot be run"), "{why}");
        assert!(remedy.contains("rustup.rs"), "{remedy}");
        // Rust from the system's package manager.
        let machine = Machine::new("usr", Some(INSTALLS));
        let Outcome::Missing(why, _) = machine.ensure() else { panic!() };
        assert!(why.contains("not installed by rustup"), "{why}");
        assert_eq!(machine.asked(), "");
    }

    #[test]
    fn without_rustc_nothing_is_installed() {
        let empty = tempfile::tempdir().unwrap();
        let Outcome::Missing(why, _) = ensure(Some(empty.path().as_os_str())) else { panic!() };
        assert!(why.contains("rustc cannot be run"), "{why}");
    }
}
