//! The kernelspec and the installed files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::{Error, Result};
use crate::toolchain::preload::Preload;

const NAME: &str = "qrnn";
const DISPLAY_NAME: &str = "Rust (qrnn)";

/// The folders of an installation: below `PREFIX/share`, or below the user's data folder.
#[derive(Debug, Clone, PartialEq)]
pub struct InstallDirs {
    pub kernelspec: PathBuf,
    /// The program and the preloaded library.
    pub home: PathBuf,
}

impl InstallDirs {
    pub fn of(prefix: Option<&Path>) -> Result<Self> {
        let data = match prefix {
            Some(prefix) => {
                std::path::absolute(prefix).map_err(Error::io(prefix, "find"))?.join("share")
            }
            None => dirs::data_dir().ok_or_else(|| Error::Missing {
                what: "there is no home folder".into(),
                remedy: "choose where to install: --prefix DIR".into(),
            })?,
        };
        let jupyter =
            std::env::var_os("JUPYTER_DATA_DIR").filter(|v| !v.is_empty() && prefix.is_none());
        let jupyter = jupyter.map_or_else(|| data.join("jupyter"), PathBuf::from);
        Ok(Self { kernelspec: jupyter.join("kernels").join(NAME), home: data.join("qrnn-jupyter") })
    }

    /// Without a prefix, the installation that this program belongs to.
    pub fn of_this_program(prefix: Option<&Path>) -> Result<Self> {
        let program = std::env::current_exe().map_err(Error::system("find this program"))?;
        match (prefix, Self::prefix_of(&program)) {
            (None, Some(own)) => {
                let (users, own) = (Self::of(None), Self::of(Some(&own))?);
                // With JUPYTER_DATA_DIR the user's kernelspecs are elsewhere.
                Ok(users.ok().filter(|users| is_same(&users.home, &own.home)).unwrap_or(own))
            }
            _ => Self::of(prefix),
        }
    }

    /// The prefix under which a program was installed.
    fn prefix_of(program: &Path) -> Option<PathBuf> {
        let prefix = program.ancestors().nth(4)?;
        let installed = Self::of(Some(prefix)).ok()?.program();
        (installed == program).then(|| prefix.into())
    }

    pub fn program(&self) -> PathBuf {
        self.home.join("bin/qrnn-jupyter")
    }

    /// The program of worker processes, which `qrnn::train::LocalWorkers` starts.
    fn workers(&self) -> PathBuf {
        self.home.join("bin/reproduce")
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Installs this program, that of worker processes, the preloaded library and the kernelspec.
pub fn install(
    dirs: &InstallDirs,
    artifacts: &[PathBuf],
    workers: &Path,
    (libtorch, sources): (&Path, &Path),
) -> Result<()> {
    let program = std::env::current_exe().map_err(Error::system("find this program"))?;
    let target = dirs.program();
    replace_program(&program, &target)?;
    replace_program(workers, &dirs.workers())?;
    Preload::install(artifacts, &dirs.home.join("preload"), libtorch, sources)?;
    fs::create_dir_all(&dirs.kernelspec).map_err(Error::io(&dirs.kernelspec, "create"))?;
    let spec = json!({
        "argv": [target, "run", "{connection_file}"],
        "display_name": DISPLAY_NAME,
        "language": "rust",
        "interrupt_mode": "message",
        "env": { "LIBTORCH": libtorch, "QRNN_PROGRAM": dirs.workers() },
        "metadata": { "debugger": false },
    });
    for (name, content) in [
        ("kernel.json", format!("{spec:#}\n").into_bytes()),
        ("logo-svg.svg", include_bytes!("logo.svg").to_vec()),
    ] {
        let path = dirs.kernelspec.join(name);
        fs::write(&path, content).map_err(Error::io(&path, "write"))?;
    }
    Ok(())
}

/// Copies a program. A running one cannot be overwritten, but it can be replaced.
fn replace_program(program: &Path, target: &Path) -> Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    }
    let fresh = target.with_extension("new");
    fs::copy(program, &fresh).map_err(Error::io(&fresh, "write"))?;
    fs::rename(&fresh, target).map_err(Error::io(target, "replace"))
}

/// Removes what [`install`] wrote, and returns the removed folders.
pub fn uninstall(dirs: &InstallDirs) -> Result<Vec<PathBuf>> {
    let mut removed = vec![];
    for folder in [&dirs.kernelspec, &dirs.home] {
        match fs::remove_dir_all(folder) {
            Ok(()) => removed.push(folder.clone()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(folder, "delete")(error)),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_everything() {
        let dirs = InstallDirs::of(Some(Path::new("/opt/x"))).unwrap();
        assert_eq!(dirs.kernelspec, Path::new("/opt/x/share/jupyter/kernels/qrnn"));
        assert_eq!(dirs.program(), Path::new("/opt/x/share/qrnn-jupyter/bin/qrnn-jupyter"));
    }

    #[test]
    fn the_prefix_of_an_installed_program_is_found() {
        let program = InstallDirs::of(Some(Path::new("/opt/x"))).unwrap().program();
        assert_eq!(InstallDirs::prefix_of(&program), Some("/opt/x".into()));
        let built = Path::new("/clone/target/kernel/qrnn-jupyter");
        assert_eq!(InstallDirs::prefix_of(built), None);
        assert_eq!(InstallDirs::prefix_of(Path::new("/qrnn-jupyter")), None);
    }

    #[test]
    fn uninstall_removes_what_install_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts =
            ["libqrnn_preload.so", "libqrnn-1.rlib", "libqrnn-1.rmeta", "libtch-2.rmeta"];
        let artifacts = artifacts.map(|name| folder.path().join(name));
        for artifact in &artifacts {
            fs::write(artifact, "x").unwrap();
        }
        fs::write(folder.path().join("Cargo.lock"), "").unwrap();
        let built = [&artifacts[0], &artifacts[1], &artifacts[3]].map(Clone::clone);
        let dirs = InstallDirs::of(Some(folder.path())).unwrap();
        let from = (Path::new("/torch"), folder.path());
        install(&dirs, &built, &artifacts[2], from).unwrap();
        let spec = fs::read_to_string(dirs.kernelspec.join("kernel.json")).unwrap();
        let spec: serde_json::Value = serde_json::from_str(&spec).unwrap();
        assert_eq!(spec["interrupt_mode"], "message");
        assert_eq!(spec["env"]["LIBTORCH"], "/torch");
        let workers = spec["env"]["QRNN_PROGRAM"].as_str().unwrap();
        assert_eq!(fs::read(workers).unwrap(), b"x");
        let arguments = fs::read_to_string(dirs.home.join("preload/cell.args")).unwrap();
        assert!(
            arguments.contains("libqrnn-1.rmeta") && !arguments.contains("rlib"),
            "{arguments}"
        );
        Preload::find(&dirs.program()).unwrap().check().unwrap();
        assert_eq!(uninstall(&dirs).unwrap().len(), 2);
        assert_eq!(uninstall(&dirs).unwrap(), [] as [PathBuf; 0]);
        assert!(Preload::find(&dirs.program()).is_err());
        assert!(install(&dirs, &built[..1], &artifacts[2], from).is_err());
    }
}
