//! Runs cargo after set-up. Each function takes what set-up returned, so that nothing is built before.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cargo_metadata::{Artifact, Message};

use crate::error::{Error, Result};
use crate::setup::Libtorch;
use crate::workspace;

/// Runs `cargo` with these arguments and returns its status.
pub fn run(
    libtorch: Libtorch,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<ExitCode> {
    // The child hears Ctrl-C too and saves its work; xtask must wait for it. A handler, because a child
    // would inherit an ignored signal.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))
        .map_err(Error::io("SIGINT", "handle"))?;
    let mut cargo = after_setup(libtorch, args);
    let status = cargo.status().map_err(Error::io(cargo.get_program(), "run"))?;
    Ok(ExitCode::from(shell_status(status)))
}

/// Runs a subcommand of `cargo` that builds, and returns what it built or found built; `None` where it
/// failed and has said why.
pub fn build(
    libtorch: Libtorch,
    subcommand: &str,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Option<Vec<Artifact>>> {
    let format = [subcommand, "--message-format=json-render-diagnostics"];
    let mut cargo = after_setup(libtorch, format);
    let output = cargo.args(args).stderr(Stdio::inherit()).output();
    let output = output.map_err(Error::io(cargo.get_program(), "run"))?;
    let artifacts = Message::parse_stream(&output.stdout[..]).filter_map(|message| match message {
        Ok(Message::CompilerArtifact(artifact)) => Some(artifact),
        _ => None,
    });
    Ok(output.status.success().then(|| artifacts.collect()))
}

/// The one program among these; build scripts are none.
pub fn program(artifacts: Vec<Artifact>, name: &str) -> Result<PathBuf> {
    let programs: Vec<_> =
        artifacts.into_iter().filter_map(|artifact| artifact.executable).collect();
    let [program] = &programs[..] else {
        let what = format!("cargo built {} programs, and not {name} alone", programs.len());
        return Err(Error::machine(what, "report this with the version of cargo"));
    };
    Ok(program.clone().into())
}

/// Runs `cargo` with these arguments and returns what it and the programs that it runs print on
/// standard output, whether they succeed or not.
pub fn output(
    libtorch: Libtorch,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<String> {
    let mut cargo = after_setup(libtorch, args);
    let output = cargo.stderr(Stdio::inherit()).output();
    let output = output.map_err(Error::io(cargo.get_program(), "run"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn after_setup(libtorch: Libtorch, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut cargo = plain(args);
    if libtorch == Libtorch::Ours {
        // Cargo sets it again from .cargo/config.toml, to the value that plain commands have: another
        // value would have torch-sys built again.
        cargo.env_remove("LIBTORCH");
    }
    cargo
}

/// `cargo` with these arguments, for what builds nothing.
pub fn plain(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // It runs in the user's folder, where the paths after --data and --out begin; that may belong to
    // another package, so the manifest is named.
    let mut args = args.into_iter();
    if let Some(command) = args.next() {
        cargo
            .arg(command)
            .arg("--manifest-path")
            .arg(workspace::root().join("Cargo.toml"))
            .args(args);
    }
    // `cargo run` has set these for xtask; build scripts that read them would run again.
    for (name, _) in std::env::vars_os() {
        let name_bytes = name.as_encoded_bytes();
        if name_bytes.starts_with(b"CARGO_PKG_") || name_bytes.starts_with(b"CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The status as shells have it: 128 and the signal's number for a program that a signal ended.
fn shell_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn programs_are_told_from_libraries() {
        let artifact = |executable: Option<&str>| -> Artifact {
            let target = json!({
                "name": "a", "kind": ["bin"], "crate_types": ["bin"], "src_path": "/a.rs",
                "edition": "2024", "doctest": false, "test": true, "doc": true
            });
            let profile = json!({
                "opt_level": "3", "debuginfo": 0, "debug_assertions": false,
                "overflow_checks": false, "test": false
            });
            serde_json::from_value(json!({
                "package_id": "a", "manifest_path": "/Cargo.toml", "target": target,
                "profile": profile, "features": [], "filenames": ["/a", "/a.d"],
                "executable": executable, "fresh": true
            }))
            .unwrap()
        };
        let found = program(vec![artifact(None), artifact(Some("/a"))], "a").unwrap();
        assert_eq!(found, PathBuf::from("/a"));
        for artifacts in [vec![artifact(None)], vec![artifact(Some("/a")), artifact(Some("/b"))]] {
            let message = program(artifacts, "a").unwrap_err().to_string();
            assert!(message.contains("programs, and not a alone"), "{message}");
        }
    }

    #[test]
    fn a_status_is_passed_on_as_shells_do() {
        // Wait statuses as the kernel has them: the code in the high byte, the signal in the low.
        for (wait, expected) in [(0, 0), (2 << 8, 2), (130 << 8, 130), (2, 130), (9, 137)] {
            assert_eq!(shell_status(ExitStatus::from_raw(wait)), expected);
        }
    }
}
