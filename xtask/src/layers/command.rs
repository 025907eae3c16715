//! `cargo xtask layers`

use cargo_metadata::Target;

use super::Workspace;
use crate::error::{Error, Result};
use crate::{terminal, workspace};

/// Check that no files import each other in a circle, and no room a higher one
#[derive(Debug, Default, clap::Args)]
pub struct Layers {
    /// Look only at this crate: a package, a library or a program
    #[arg(long = "crate", value_name = "NAME")]
    only: Option<String>,
    /// Print which room imports from which, and how often, instead
    #[arg(long)]
    list: bool,
}

impl Layers {
    pub fn run(self) -> Result<()> {
        let root = workspace::root();
        let metadata = workspace::metadata(&root)?;
        let targets = metadata.packages.iter().flat_map(|package| {
            package.targets.iter().map(|target| (package.name.as_str(), target))
        });
        let is_library = |target: &Target| target.is_lib() || target.is_dylib();
        let mut targets: Vec<_> =
            targets.filter(|(_, target)| is_library(target) || target.is_bin()).collect();
        targets.sort_by_key(|(_, target)| target.is_bin());
        let files = targets
            .iter()
            .map(|(_, target)| (target.name.clone(), target.src_path.clone().into_std_path_buf()));
        let read = Workspace::read(&root, &files.collect::<Vec<_>>())?;
        let is_asked = |package: &str, target: &Target| {
            self.only.as_ref().is_none_or(|only| only == package || *only == target.name)
        };
        let asked = targets.iter().filter(|(package, target)| is_asked(package, target));
        let asked: Vec<&str> = asked.map(|(_, target)| target.name.as_str()).collect();
        if asked.is_empty() {
            let names: Vec<&str> = targets.iter().map(|(_, target)| target.name.as_str()).collect();
            return Err(Error::machine(
                format!("the workspace has no crate {}", self.only.unwrap_or_default()),
                format!("name one of these: {}", names.join(", ")),
            ));
        }
        if self.list {
            return asked.iter().try_for_each(|name| terminal::print(read.list(name)));
        }
        let faults: Vec<String> = asked.iter().flat_map(|name| read.faults(name)).collect();
        if faults.is_empty() {
            return Ok(());
        }
        terminal::print(faults.join("\n"))?;
        Err(Error::failed(
            format!("{} faults in the order of files and rooms", faults.len()),
            "move what the lines above name, or its room in xtask/src/layers/table.json",
        ))
    }
}
