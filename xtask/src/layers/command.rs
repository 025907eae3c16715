//! `cargo xtask layers`

use std::process::ExitCode;

use crate::error::{Error, Result};
use crate::layers;
use crate::{terminal, workspace};

/// Check that no files import each other in a circle, and no room a higher one
#[derive(Debug, Default, clap::Args)]
pub struct Layers {
    /// Look only at this crate: a package, a library or a program
    #[arg(long = "crate", value_name = "NAME")]
    only: Option<String>,
    /// Show every circle, those too that share a line with a shorter one
    #[arg(long)]
    all: bool,
    /// Print which room imports from which, and how often, instead
    #[arg(long)]
    list: bool,
}

impl Layers {
    pub fn run(self) -> Result<ExitCode> {
        let root = workspace::root();
        let targets = workspace::libraries_and_programs(&root)?;
        let all: Vec<_> = targets.iter().map(|t| (t.name.clone(), t.file.clone())).collect();
        let read = layers::Layers::read(&root, &all)?;
        let asked = |target: &&workspace::Target| match &self.only {
            Some(name) => *name == target.package || *name == target.name,
            None => true,
        };
        let asked: Vec<&workspace::Target> = targets.iter().filter(asked).collect();
        if asked.is_empty() {
            let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            return Err(Error::machine(
                format!("the workspace has no crate {}", self.only.unwrap_or_default()),
                format!("name one of these: {}", names.join(", ")),
            ));
        }
        let mut faults = 0;
        for target in asked {
            if self.list {
                terminal::print(read.list(&target.name))?;
                continue;
            }
            for fault in read.faults(&target.name, self.all) {
                faults += 1;
                terminal::print(fault)?;
            }
        }
        if faults > 0 {
            terminal::note(format_args!("{faults} faults in the order of files and rooms"));
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}
