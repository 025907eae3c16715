//! Adds the stock evcxr kernel to Jupyter's list, with libtorch.
//!
//! The kernelspec that evcxr_jupyter writes itself names no libtorch, so qrnn neither builds (LIBTORCH) nor
//! runs (the library path) in it. This one sets both.

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde_json::json;

use crate::error::{Error, Result};
use crate::terminal;

/// The kernel's name in Jupyter's list.
pub const NAME: &str = "qrnn-evcxr";
const PROGRAM: &str = "evcxr_jupyter";
/// evcxr's settings at start: keep up to 4 GiB of compiled crates for the next notebook.
const START: &str = ":cache 4096\n";

/// Writes the kernelspec under `DIR/share` for a prefix, else into the user's data folder.
pub fn install(libtorch: &Path, prefix: Option<&Path>) -> Result<()> {
    let program = program(&search_path()).ok_or_else(|| {
        Error::machine(
            format!("there is no {PROGRAM} on the PATH or in cargo's folder"),
            "install it: cargo install evcxr_jupyter --version 0.22.0 --locked",
        )
    })?;
    let (jupyter, own) = data_folders(prefix)?;
    let folder = jupyter.join("kernels").join(NAME);
    let settings = own.join("evcxr");
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(&settings)?;
    fs::write(folder.join("kernel.json"), spec(&program, libtorch, &settings))?;
    fs::write(settings.join("init.evcxr"), START)?;
    terminal::show(format_args!("kernelspec {}", folder.display()));
    terminal::note(format_args!(
        "installed; Jupyter lists it as \"Rust (evcxr)\", which starts {}",
        program.display()
    ));
    Ok(())
}

fn spec(program: &Path, libtorch: &Path, settings: &Path) -> String {
    let spec = json!({
        "argv": [program, "--control_file", "{connection_file}"],
        "display_name": "Rust (evcxr)",
        "language": "rust",
        "interrupt_mode": "message",
        "env": {
            "LIBTORCH": libtorch,
            "LD_LIBRARY_PATH": libtorch.join("lib"),
            "EVCXR_CONFIG_DIR": settings,
        },
    });
    format!("{spec:#}\n")
}

/// Jupyter's folder and that of evcxr's settings, where `qrnn-jupyter install` has them.
fn data_folders(prefix: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let data = match prefix {
        Some(prefix) => {
            std::path::absolute(prefix).map_err(Error::io(prefix, "find"))?.join("share")
        }
        None => variable("XDG_DATA_HOME")
            .or_else(|| std::env::home_dir().map(|home| home.join(".local/share")))
            .ok_or_else(|| {
                Error::machine("there is no home folder", "say where to install: --prefix DIR")
            })?,
    };
    let jupyter = prefix.is_none().then(|| variable("JUPYTER_DATA_DIR")).flatten();
    Ok((jupyter.unwrap_or_else(|| data.join("jupyter")), data.join("qrnn-stock-kernel")))
}

/// The folders where a shell looks for programs, and where cargo installs them.
fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    std::env::split_paths(&path).chain(cargo.map(|home| home.join("bin"))).collect()
}

fn program(folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(PROGRAM)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_says_where_libtorch_is() {
        let spec = spec("/bin/x".as_ref(), "/torch".as_ref(), "/settings".as_ref());
        let spec: serde_json::Value = serde_json::from_str(&spec).unwrap();
        assert_eq!(spec["argv"], json!(["/bin/x", "--control_file", "{connection_file}"]));
        assert_eq!(spec["env"]["LIBTORCH"], "/torch");
        assert_eq!(spec["env"]["LD_LIBRARY_PATH"], "/torch/lib");
        assert_eq!(spec["display_name"], "Rust (evcxr)");
    }

    #[test]
    fn it_goes_where_our_kernel_goes() {
        let (jupyter, _) = data_folders(Some("/opt/x".as_ref())).unwrap();
        assert_eq!(jupyter, Path::new("/opt/x/share/jupyter"));
    }

    #[test]
    fn the_program_is_found_where_cargo_puts_it() {
        let folder = tempfile::tempdir().unwrap();
        let folders = ["/nonexistent".into(), folder.path().to_path_buf()];
        assert_eq!(program(&folders), None);
        fs::write(folder.path().join(PROGRAM), "").unwrap();
        assert_eq!(program(&folders), Some(folder.path().join(PROGRAM)));
    }
}
