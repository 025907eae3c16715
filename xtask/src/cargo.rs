//! Cargo, run after set-up.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::setup::{self, Libtorch};

/// Runs `cargo` with these arguments and returns its status. It takes what set-up returned, so
/// that nothing is built before.
///
/// # Errors
/// Where cargo cannot be run.
pub fn run(
    libtorch: Libtorch,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<ExitCode> {
    // The child hears Ctrl-C too and saves its work; here it must not end the wait for it. A
    // handler, as an ignored signal would be ignored by the child as well.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))
        .map_err(Error::io("SIGINT", "handle"))?;
    let mut cargo = command(libtorch, args);
    let status = cargo.status().map_err(Error::io(cargo.get_program(), "run"))?;
    Ok(ExitCode::from(shell_status(status)))
}

/// Runs `cargo` with these arguments and returns the files that it built or found built, as it
/// lists them; none where it failed, and has said why.
///
/// # Errors
/// Where cargo cannot be run.
pub fn built(
    libtorch: Libtorch,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Option<Vec<PathBuf>>> {
    Ok(messages(libtorch, args)?.map(|messages| artifacts(&messages)))
}

/// What a `cargo` that succeeds prints on standard output.
fn messages(
    libtorch: Libtorch,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Option<String>> {
    let mut cargo = command(libtorch, args);
    let output = cargo.stderr(Stdio::inherit()).output();
    let output = output.map_err(Error::io(cargo.get_program(), "run"))?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Runs `cargo` with these arguments and returns what it and the programs that it runs print on
/// standard output, whether they succeed or not.
///
/// # Errors
/// Where cargo cannot be run.
pub fn said(
    libtorch: Libtorch,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<String> {
    let mut cargo = command(libtorch, args);
    let output = cargo.stderr(Stdio::inherit()).output();
    let output = output.map_err(Error::io(cargo.get_program(), "run"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The files in cargo's messages, a JSON object a line.
fn artifacts(messages: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    messages
        .filter(|message: &serde_json::Value| message["reason"] == "compiler-artifact")
        .flat_map(|message| {
            let files = message["filenames"].as_array().cloned().unwrap_or_default();
            files.into_iter().filter_map(|file| file.as_str().map(PathBuf::from))
        })
        .collect()
}

/// As [`built`], of the programs alone: executables of binaries and of tests.
///
/// # Errors
/// As [`built`].
pub fn programs(
    libtorch: Libtorch,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Option<Vec<PathBuf>>> {
    Ok(messages(libtorch, args)?.map(|messages| executables(&messages)))
}

/// The programs in cargo's messages, a JSON object a line.
fn executables(messages: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    messages
        .filter(|message: &serde_json::Value| message["reason"] == "compiler-artifact")
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}

fn command(libtorch: Libtorch, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut cargo = plain(args);
    if libtorch == Libtorch::Ours {
        // Cargo sets it again from .cargo/config.toml, to the value that it has for plain commands
        // too: any other would have torch-sys built anew.
        cargo.env_remove("LIBTORCH");
    }
    cargo
}

/// `cargo` with these arguments, for what builds nothing.
pub fn plain(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(&program);
    // In the user's folder, as plain cargo: what they write after --data or --out starts there.
    // The manifest is named, as that folder may be another member's.
    let mut args = args.into_iter();
    if let Some(command) = args.next() {
        cargo.arg(command).arg("--manifest-path").arg(setup::root().join("Cargo.toml")).args(args);
    }
    // What `cargo run` has set for this program: build scripts that look at it would run anew.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|own| name.as_encoded_bytes().starts_with(own.as_bytes()))
        {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// As shells have it: 128 and the signal's number for a program that a signal ended.
fn shell_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_read_off_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"filenames\":[\"/a/b.rlib\",\"/a/b.rmeta\"]}\n\
            not JSON\n{\"reason\":\"build-finished\",\"filenames\":[\"/c\"]}\n";
        assert_eq!(artifacts(messages), [PathBuf::from("/a/b.rlib"), PathBuf::from("/a/b.rmeta")]);
    }

    #[test]
    fn programs_are_told_from_libraries_and_build_scripts() {
        let messages = r#"{"reason":"compiler-artifact","filenames":["/a/b.rlib"],"executable":null}
            {"reason":"compiler-artifact","filenames":["/a/c","/a/c.d"],"executable":"/a/c"}
            {"reason":"build-script-executed","executable":"/d"}"#;
        assert_eq!(executables(messages), [PathBuf::from("/a/c")]);
    }

    #[test]
    fn a_status_is_passed_on_as_shells_do() {
        // Wait statuses as the kernel has them: the code in the high byte, the signal in the low.
        for (wait, expected) in [(0, 0), (2 << 8, 2), (130 << 8, 130), (2, 130), (9, 137)] {
            assert_eq!(shell_status(ExitStatus::from_raw(wait)), expected);
        }
    }
}
