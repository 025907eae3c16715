//! The workspace: its folder, and its packages as cargo lists them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand};

use crate::error::{Error, Result};

pub fn root() -> PathBuf {
    root_of(std::env::var_os("CARGO_MANIFEST_DIR"))
}

/// Prefers the variable of the running cargo to the one at compile time: a clone that was moved, or shares
/// its target folder, is not compiled again.
fn root_of(running: Option<OsString>) -> PathBuf {
    let running = running.map(PathBuf::from).filter(|folder| folder.ends_with("xtask"));
    let xtask = running.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    xtask.parent().unwrap_or(&xtask).into()
}

/// The packages of the workspace alone.
pub fn metadata(root: &Path) -> Result<Metadata> {
    read(MetadataCommand::new().no_deps(), root)
}

/// The workspace with its dependencies on Linux.
pub fn with_dependencies(root: &Path) -> Result<Metadata> {
    let linux = ["--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned);
    read(MetadataCommand::new().other_options(linux), root)
}

fn read(command: &mut MetadataCommand, root: &Path) -> Result<Metadata> {
    command.manifest_path(root.join("Cargo.toml")).exec().map_err(|error| {
        Error::machine(format!("cargo metadata fails: {error}"), "make Cargo.toml valid")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_that_of_the_clone_that_cargo_runs_in() {
        assert_eq!(root_of(Some("/moved/xtask".into())), Path::new("/moved"));
        let compiled = root_of(None);
        assert!(compiled.join("xtask/src/workspace.rs").exists());
        assert_eq!(root_of(Some("/some/other/package".into())), compiled);
    }
}
