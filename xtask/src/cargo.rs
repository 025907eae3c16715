//! Runs cargo after set-up. Each function takes what set-up returned, so that nothing is built before.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cargo_metadata::{Artifact, Message};

use crate::error::{Error, Result};
use crate::setup::Libtorch;
use crate::{process, workspace};

pub fn run(libtorch: Libtorch, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    // The child hears Ctrl-C too and saves its work; xtask must wait for it. A handler, because a child
    // would inherit an ignored signal.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))
        .map_err(Error::io("SIGINT", "handle"))?;
    process::run(&mut after_setup(libtorch, args))
}

/// Runs a subcommand of `cargo` that builds, and returns what it built or found built.
pub fn build(
    libtorch: Libtorch,
    subcommand: &str,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Vec<Artifact>> {
    let format = [subcommand, "--message-format=json-render-diagnostics"];
    let messages = process::output(after_setup(libtorch, format).args(args))?;
    let artifacts =
        Message::parse_stream(messages.as_bytes()).filter_map(|message| match message {
            Ok(Message::CompilerArtifact(artifact)) => Some(artifact),
            _ => None,
        });
    Ok(artifacts.collect())
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

pub fn after_setup(
    libtorch: Libtorch,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Command {
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
    cargo.args(args.next()).arg("--manifest-path").arg(workspace::root().join("Cargo.toml"));
    cargo.args(args);
    // `cargo run` has set these for xtask; build scripts that read them would run again.
    for (name, _) in std::env::vars_os() {
        let name_bytes = name.as_encoded_bytes();
        if name_bytes.starts_with(b"CARGO_PKG_") || name_bytes.starts_with(b"CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
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
}
