//! Packs the programs for a machine with a GPU: `cargo xtask gpu-pack`.

mod baselines;
mod facts;
mod programs;
#[cfg(test)]
mod tests;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::error::{Error, Result};
use crate::{setup, terminal, workspace};

/// The script, the Python programs that it calls, and the kernel that one of them compiles.
const SCRIPT: &str = "measure.sh";
const SHIPPED: [(&str, &str); 10] = [
    (SCRIPT, include_str!("../../gpu-pack/measure.sh")),
    ("machine.py", include_str!("../../gpu-pack/machine.py")),
    ("probe.py", include_str!("../../gpu-pack/probe.py")),
    ("races.py", include_str!("../../gpu-pack/races.py")),
    ("resumed.py", include_str!("../../gpu-pack/resumed.py")),
    ("results.py", include_str!("../../gpu-pack/results.py")),
    ("table.py", include_str!("../../gpu-pack/table.py")),
    ("kernels/block.cuh", include_str!("../../../kernels/block.cuh")),
    ("kernels/column.cuh", include_str!("../../../kernels/column.cuh")),
    ("kernels/cross_entropy.cu", include_str!("../../../kernels/cross_entropy.cu")),
];

/// The file that marks a folder as a pack.
const FACTS: &str = "facts.json";

/// The pack must fit into a copied working tree.
const MOST_BYTES: u64 = 60_000_000;

/// Pack the programs and scripts that test and measure on a machine with a GPU and no cargo
#[derive(Debug, clap::Args)]
pub struct GpuPack {
    /// Write to this folder: a new or empty one, or an earlier pack
    #[arg(long, value_name = "DIR")]
    pack: PathBuf,
}

impl GpuPack {
    pub fn run(self) -> Result<()> {
        let pack = &self.pack;
        check_free(pack)?;
        let libtorch = setup::run()?;
        // Before the build, which takes minutes during which the tree may change.
        let facts = facts::text(&workspace::root());
        let programs = programs::build(libtorch)?;
        fs::create_dir_all(pack)?;
        // First, so that an unfinished pack is recognized and can be overwritten.
        fs::write(pack.join(FACTS), facts)?;
        for (name, program) in programs {
            programs::strip(&program, &pack.join(name))?;
        }
        baselines::copy(&workspace::root().join("target/gpu-pack"), pack)?;
        ship(pack)?;
        let files = sizes(pack)?;
        let bytes = files.iter().map(|(_, bytes)| bytes).sum::<u64>();
        for (path, bytes) in &files {
            terminal::note(format_args!("{bytes:>10} {}", path.display()));
        }
        terminal::note(format_args!("{bytes:>10} bytes in all: {}", pack.display()));
        if bytes >= MOST_BYTES {
            return Err(Error::machine(
                format!("the pack has {bytes} bytes, more than {MOST_BYTES}"),
                "check the sizes above: a program that large was not stripped",
            ));
        }
        terminal::print(how_to_use(pack))
    }
}

fn check_free(pack: &Path) -> Result<()> {
    let is_empty = !pack.exists() || fs::read_dir(pack)?.next().is_none();
    if is_empty || pack.join(FACTS).is_file() {
        return Ok(());
    }
    let what = format!("{} holds files that are not a pack", pack.display());
    Err(Error::machine(what, "name another folder, or empty this one"))
}

fn ship(pack: &Path) -> Result<()> {
    fs::create_dir_all(pack.join("kernels"))?;
    for (name, text) in SHIPPED {
        fs::write(pack.join(name), text)?;
    }
    Ok(fs::set_permissions(pack.join(SCRIPT), Permissions::from_mode(0o755))?)
}

/// The files below a folder and their bytes, by name.
fn sizes(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let files = glob::glob(&folder.join("**/*").to_string_lossy());
    let files = files.into_iter().flatten().flatten().filter(|path| path.is_file());
    files.map(|path| Ok((path.clone(), fs::metadata(path)?.len()))).collect()
}

fn how_to_use(pack: &Path) -> String {
    let script = pack.join(SCRIPT);
    let script = script.display();
    format!(
        "copy this folder to a machine with a GPU, a driver 580 or later and a python3 with torch \
         {}, and run there (at most 7 minutes each):\n\n    OUT=out bash {script} first\n    OUT=out bash {script} second\n\n\
         each prints the table of figures and goals, and writes it with its sources to $OUT",
        crate::setup::pins::VERSION
    )
}
