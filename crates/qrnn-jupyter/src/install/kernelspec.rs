//! The kernel's entry in Jupyter's list, and the files behind it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::{Error, Result};
use crate::toolchain::preload::Preload;

const NAME: &str = "qrnn";
const DISPLAY_NAME: &str = "Rust (qrnn)";

/// Where an installation lies: `DIR/share` for a prefix, else the user's data folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Places {
    /// The kernelspec.
    pub spec: PathBuf,
    /// The program and the preloaded library.
    pub home: PathBuf,
}

impl Places {
    /// # Errors
    /// Where there is neither a prefix nor a home folder.
    pub fn of(prefix: Option<&Path>) -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let data = match prefix {
            Some(prefix) => {
                std::path::absolute(prefix).map_err(Error::io(prefix, "find"))?.join("share")
            }
            None => variable("XDG_DATA_HOME")
                .or_else(|| std::env::home_dir().map(|home| home.join(".local/share")))
                .ok_or_else(|| Error::Missing {
                    what: "there is no home folder".into(),
                    remedy: "say where to install: --prefix DIR".into(),
                })?,
        };
        let jupyter = match prefix {
            None => variable("JUPYTER_DATA_DIR").unwrap_or_else(|| data.join("jupyter")),
            Some(_) => data.join("jupyter"),
        };
        Ok(Self { spec: jupyter.join("kernels").join(NAME), home: data.join("qrnn-jupyter") })
    }

    /// As [`Places::of`]; without a prefix, an installed program speaks of its own installation.
    ///
    /// # Errors
    /// As [`Places::of`].
    pub fn of_this_program(prefix: Option<&Path>) -> Result<Self> {
        let program = std::env::current_exe().map_err(Error::system("find this program"))?;
        match (prefix, Self::prefix_of(&program)) {
            (None, Some(own)) => {
                let (users, own) = (Self::of(None), Self::of(Some(&own))?);
                // In the user's data folder the kernelspec may lie elsewhere (JUPYTER_DATA_DIR).
                Ok(users.ok().filter(|users| is_same(&users.home, &own.home)).unwrap_or(own))
            }
            _ => Self::of(prefix),
        }
    }

    /// The prefix that a program was installed under; none where it is no installed one.
    fn prefix_of(program: &Path) -> Option<PathBuf> {
        let data = program.ancestors().nth(3)?;
        let prefix = data.parent()?;
        let installed = Self::of(Some(prefix)).ok()?.program();
        (installed == program).then(|| prefix.into())
    }

    pub fn program(&self) -> PathBuf {
        self.home.join("bin/qrnn-jupyter")
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Installs this program, the preloaded library and the kernelspec.
///
/// # Errors
/// Where something cannot be read or written.
pub fn install(
    places: &Places,
    artifacts: &[PathBuf],
    libtorch: &Path,
    sources: &Path,
) -> Result<()> {
    let program = std::env::current_exe().map_err(Error::system("find this program"))?;
    let target = places.program();
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    }
    // Beside and renamed: a program that runs cannot be written to.
    let fresh = target.with_extension("new");
    fs::copy(&program, &fresh).map_err(Error::io(&fresh, "write"))?;
    fs::rename(&fresh, &target).map_err(Error::io(&target, "replace"))?;
    Preload::install(artifacts, &places.home.join("preload"), libtorch, sources)?;
    fs::create_dir_all(&places.spec).map_err(Error::io(&places.spec, "create"))?;
    let spec = json!({
        "argv": [target, "run", "{connection_file}"],
        "display_name": DISPLAY_NAME,
        "language": "rust",
        "interrupt_mode": "message",
        "env": { "LIBTORCH": libtorch },
        "metadata": { "debugger": false },
    });
    for (name, content) in [
        ("kernel.json", format!("{spec:#}\n").into_bytes()),
        ("logo-svg.svg", include_bytes!("logo.svg").to_vec()),
    ] {
        let path = places.spec.join(name);
        fs::write(&path, content).map_err(Error::io(&path, "write"))?;
    }
    Ok(())
}

/// Removes what `install` put there; what was removed.
///
/// # Errors
/// Where it cannot be deleted.
pub fn uninstall(places: &Places) -> Result<Vec<PathBuf>> {
    let mut removed = vec![];
    for folder in [&places.spec, &places.home] {
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
        let places = Places::of(Some(Path::new("/opt/x"))).unwrap();
        assert_eq!(places.spec, Path::new("/opt/x/share/jupyter/kernels/qrnn"));
        assert_eq!(places.program(), Path::new("/opt/x/share/qrnn-jupyter/bin/qrnn-jupyter"));
    }

    #[test]
    fn an_installed_program_knows_its_prefix() {
        let program = Places::of(Some(Path::new("/opt/x"))).unwrap().program();
        assert_eq!(Places::prefix_of(&program), Some("/opt/x".into()));
        let built = Path::new("/clone/target/kernel/qrnn-jupyter");
        assert_eq!(Places::prefix_of(built), None);
        assert_eq!(Places::prefix_of(Path::new("/qrnn-jupyter")), None);
    }

    #[test]
    fn what_is_installed_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts =
            ["libqrnn_preload.so", "libqrnn-1.rlib", "libqrnn-1.rmeta", "libtch-2.rmeta"];
        let artifacts = artifacts.map(|name| folder.path().join(name));
        for artifact in &artifacts {
            fs::write(artifact, "x").unwrap();
        }
        fs::write(folder.path().join("Cargo.lock"), "").unwrap();
        let built = [&artifacts[0], &artifacts[1], &artifacts[3]].map(Clone::clone);
        let places = Places::of(Some(folder.path())).unwrap();
        install(&places, &built, Path::new("/torch"), folder.path()).unwrap();
        let spec = fs::read_to_string(places.spec.join("kernel.json")).unwrap();
        let spec: serde_json::Value = serde_json::from_str(&spec).unwrap();
        assert_eq!(spec["interrupt_mode"], "message");
        assert_eq!(spec["env"]["LIBTORCH"], "/torch");
        let arguments = fs::read_to_string(places.home.join("preload/cell.args")).unwrap();
        assert!(
            arguments.contains("libqrnn-1.rmeta") && !arguments.contains("rlib"),
            "{arguments}"
        );
        Preload::find(&places.program()).unwrap().check().unwrap();
        assert_eq!(uninstall(&places).unwrap().len(), 2);
        assert_eq!(uninstall(&places).unwrap(), [] as [PathBuf; 0]);
        assert!(Preload::find(&places.program()).is_err());
        assert!(install(&places, &built[..1], Path::new("/torch"), folder.path()).is_err());
    }
}
