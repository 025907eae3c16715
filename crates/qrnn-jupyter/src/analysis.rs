//! The cargo that rust-analyzer runs: it sees the preloaded crates as dependencies of a cell.
//!
//! To cargo and rustc a cell has no such dependency, as the compiler step brings the crates in. For
//! completion and inspection rust-analyzer has to find their sources, so its question for metadata
//! is answered for a manifest beside evcxr's that names them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::preload::Preload;
use crate::terminal;

/// The user's own CARGO_HOME; empty where there is none.
pub const CARGO_HOME: &str = "QRNN_JUPYTER_CARGO_HOME";

const MANIFEST: &str = "Cargo.toml";
/// The preloaded crates as a manifest names them, until they are wanted and after that.
const PREPARED: &str = "dependencies.prepared";
const WANTED: &str = "dependencies";

/// From now on rust-analyzer is shown the preloaded crates. It takes a second or two to read them,
/// so this waits for the first completion or inspection. Whether anything has changed.
pub fn show(session: &Path) -> bool {
    let folder = session.join("analysis");
    fs::rename(folder.join(PREPARED), folder.join(WANTED)).is_ok()
}

/// Puts this program in cargo's place for those who look into CARGO_HOME, which rust-analyzer does
/// first. The folder that is to be CARGO_HOME.
///
/// # Errors
/// Where the session's folder cannot be written.
pub fn prepare(program: &Path, session: &Path, preload: &Preload) -> Result<PathBuf> {
    let home = session.join("cargo");
    let bin = home.join("bin");
    fs::create_dir_all(&bin).map_err(Error::io(&bin, "create"))?;
    for name in ["cargo", "rustup"] {
        let link = bin.join(name);
        std::os::unix::fs::symlink(program, &link).map_err(Error::io(&link, "create"))?;
    }
    // Which versions the preloaded crates are of.
    let folder = session.join("analysis");
    fs::create_dir_all(&folder).map_err(Error::io(&folder, "create"))?;
    if let (Some(lock), Some(dependencies)) = (preload.lock(), preload.dependencies()) {
        let copy = folder.join("Cargo.lock");
        fs::copy(lock, &copy).map_err(Error::io(&copy, "write"))?;
        let list = folder.join(PREPARED);
        fs::write(&list, dependencies).map_err(Error::io(&list, "write"))?;
    }
    Ok(home)
}

/// Whether this program was run by one of those names.
pub fn is_called() -> Option<ExitCode> {
    let name = std::env::args_os().next().map(PathBuf::from)?;
    match name.file_name()?.to_str()? {
        "cargo" => Some(cargo()),
        // rust-analyzer would have it download rust-src.
        "rustup" => Some(ExitCode::FAILURE),
        _ => None,
    }
}

fn cargo() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(folder) = std::env::var_os("EVCXR_TMPDIR").map(PathBuf::from)
        && args.first().is_some_and(|arg| arg == "metadata")
        && let Some(metadata) = metadata(&folder, &args)
    {
        terminal::show(metadata);
        return ExitCode::SUCCESS;
    }
    let mut command = real_cargo();
    terminal::note(format_args!("cannot run cargo: {}", command.args(args).exec()));
    ExitCode::FAILURE
}

fn real_cargo() -> Command {
    let mut command = Command::new("cargo");
    match std::env::var_os(CARGO_HOME).filter(|home| !home.is_empty()) {
        Some(home) => command.env("CARGO_HOME", home),
        None => command.env_remove("CARGO_HOME"),
    };
    command
}

/// The metadata of evcxr's crate with the preloaded ones; none where it cannot be had, and the
/// bare answer has to do.
fn metadata(folder: &Path, args: &[OsString]) -> Option<String> {
    let manifest = fs::read_to_string(folder.join(MANIFEST)).ok()?;
    let beside = folder.join("analysis");
    let dependencies = fs::read_to_string(beside.join(WANTED)).ok()?;
    let path = beside.join(MANIFEST);
    fs::write(&path, with_dependencies(&manifest, &dependencies)).ok()?;
    let mut command = real_cargo();
    command.args(["metadata", "--format-version", "1", "--offline", "--filter-platform"]);
    command.arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    command.arg("--manifest-path").arg(&path);
    if args.iter().any(|arg| arg == "--no-deps") {
        command.arg("--no-deps");
    }
    let output = command.output().ok()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).ok()?;
    // Asked without dependencies, there is no graph to prune.
    let metadata = if metadata["resolve"].is_null() { metadata } else { pruned(metadata) };
    output.status.success().then(|| metadata.to_string())
}

/// Without what lies behind the crates that cells name: rust-analyzer reads every file of a crate,
/// and a hundred crates would take it longer than anyone waits for a completion.
fn pruned(mut metadata: Value) -> Value {
    let root = metadata["resolve"]["root"].clone();
    let nodes = metadata["resolve"]["nodes"].as_array();
    let node = nodes.into_iter().flatten().find(|node| node["id"] == root);
    let named = node.and_then(|node| node["dependencies"].as_array()).cloned();
    let kept: Vec<Value> = named.into_iter().flatten().chain([root]).collect();
    retain(&mut metadata["packages"], |package| kept.contains(&package["id"]));
    let nodes = &mut metadata["resolve"]["nodes"];
    retain(nodes, |node| kept.contains(&node["id"]));
    for node in nodes.as_array_mut().into_iter().flatten() {
        retain(&mut node["deps"], |dependency| kept.contains(&dependency["pkg"]));
        retain(&mut node["dependencies"], |id| kept.contains(id));
    }
    metadata
}

fn retain(list: &mut Value, keep: impl FnMut(&Value) -> bool) {
    if let Some(list) = list.as_array_mut() {
        list.retain(keep);
    }
}

/// Evcxr's manifest, which ends with its dependencies, in the folder below.
fn with_dependencies(manifest: &str, dependencies: &str) -> String {
    let manifest = manifest.replace("path = \"src/lib.rs\"", "path = \"../src/lib.rs\"");
    format!("{manifest}\n{dependencies}\n[workspace]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cells_name_is_left() {
        let metadata = serde_json::json!({
            "packages": [{"id": "cell"}, {"id": "tch"}, {"id": "zip"}],
            "resolve": {"root": "cell", "nodes": [
                {"id": "cell", "deps": [{"pkg": "tch"}], "dependencies": ["tch"]},
                {"id": "tch", "deps": [{"pkg": "zip"}], "dependencies": ["zip"]},
                {"id": "zip", "deps": [], "dependencies": []},
            ]},
        });
        let left = serde_json::json!({
            "packages": [{"id": "cell"}, {"id": "tch"}],
            "resolve": {"root": "cell", "nodes": [
                {"id": "cell", "deps": [{"pkg": "tch"}], "dependencies": ["tch"]},
                {"id": "tch", "deps": [], "dependencies": []},
            ]},
        });
        assert_eq!(pruned(metadata), left);
    }

    #[test]
    fn the_manifest_beside_names_the_same_file() {
        let manifest = "[lib]\npath = \"src/lib.rs\"\n[dependencies]\nrand = \"0.9\"\n";
        let beside = with_dependencies(manifest, "tch = \"*\"");
        assert_eq!(
            beside,
            "[lib]\npath = \"../src/lib.rs\"\n[dependencies]\nrand = \"0.9\"\n\ntch = \"*\"\n[workspace]\n"
        );
    }
}
