//! The workspace: its folder, and its packages as cargo lists them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand, TargetKind};

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

/// A library or a program of the workspace.
#[derive(Debug)]
pub struct Target {
    pub package: String,
    pub name: String,
    /// The root file.
    pub file: PathBuf,
}

/// All libraries, then all programs.
pub fn libraries_and_programs(root: &Path) -> Result<Vec<Target>> {
    let metadata = read(MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps())?;
    let is_bin = |kinds: &[TargetKind]| kinds.contains(&TargetKind::Bin);
    let is_lib = |kinds: &[TargetKind]| {
        [TargetKind::Lib, TargetKind::DyLib, TargetKind::RLib]
            .iter()
            .any(|kind| kinds.contains(kind))
    };
    let mut targets: Vec<(bool, Target)> = metadata
        .packages
        .iter()
        .flat_map(|package| package.targets.iter().map(move |target| (package, target)))
        .filter(|(_, target)| is_bin(&target.kind) || is_lib(&target.kind))
        .map(|(package, target)| {
            let file = target.src_path.clone().into_std_path_buf();
            (
                is_bin(&target.kind),
                Target { package: package.name.to_string(), name: target.name.clone(), file },
            )
        })
        .collect();
    targets.sort_by_key(|(is_program, _)| *is_program);
    Ok(targets.into_iter().map(|(_, target)| target).collect())
}

/// The names of the packages without `publish = false`.
pub fn publishable(root: &Path) -> Result<Vec<String>> {
    let metadata = read(MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps())?;
    let publishable = metadata.packages.into_iter().filter(|package| package.publish.is_none());
    Ok(publishable.map(|package| package.name.to_string()).collect())
}

/// The workspace with its dependencies on Linux.
pub fn with_dependencies(root: &Path) -> Result<Metadata> {
    let linux = ["--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned);
    let mut command = MetadataCommand::new();
    read(command.manifest_path(root.join("Cargo.toml")).other_options(linux))
}

fn read(command: &MetadataCommand) -> Result<Metadata> {
    command.exec().map_err(|error| {
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
