//! `cargo xtask notebooks`

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::error::{Error, Result};
use crate::jupyter::venv::Venv;
use crate::jupyter::{install, stock_kernel};
use crate::terminal;
use crate::workspace;

const RUNNER: &str = include_str!("run.py");
const LAB_REQUIREMENTS: &str = include_str!("lab-requirements.txt");
const LAB: &str = include_str!("lab.py");

/// The notebook that is worked in as a user would.
const TOUR: &str = "notebooks/01_tour.ipynb";

/// Execute every notebook through the Jupyter kernel; fails where a cell fails
#[derive(Debug, clap::Args)]
pub struct Notebooks {
    /// Store the outputs in the notebooks
    #[arg(long)]
    save: bool,
    /// Work in the tour in JupyterLab in headless Chromium, as a user would, with the interrupt
    /// button pressed; wants Debian's chromium and chromium-driver
    #[arg(long, conflicts_with = "save")]
    lab: bool,
    /// Execute them in the stock kernel, evcxr_jupyter, which builds the library for the first of them:
    /// minutes
    #[arg(long, conflicts_with_all = ["save", "lab"])]
    stock: bool,
    /// Use the kernel that is installed in this folder, in place of building one
    #[arg(long)]
    prefix: Option<PathBuf>,
    /// Notebooks [default: all of notebooks/]
    files: Vec<PathBuf>,
}

impl Notebooks {
    pub fn run(self) -> Result<ExitCode> {
        let work = workspace::root().join("target/notebooks");
        fs_err::create_dir_all(&work)?;
        // evcxr builds in a new folder for each kernel unless it is given one. That must lie outside of
        // this workspace, and serves one kernel at a time.
        let build = tempfile::Builder::new().prefix("qrnn-evcxr-").tempdir();
        let build = build.map_err(Error::io(std::env::temp_dir(), "create a folder in"))?;
        let files = match (self.files.is_empty(), self.lab) {
            (true, true) => vec![workspace::root().join(TOUR)],
            (true, false) => all(&workspace::root().join("notebooks"))?,
            (false, _) => self.files.clone(),
        };
        let prefix = match &self.prefix {
            Some(prefix) => prefix.clone(),
            None => match install_kernel(&work.join("prefix"), self.stock)? {
                Ok(prefix) => prefix,
                Err(status) => return Ok(status),
            },
        };
        let jupyter = std::path::absolute(&prefix).map_err(Error::io(&prefix, "find"))?;
        let jupyter = jupyter.join("share/jupyter");
        let kernel = if self.stock { stock_kernel::NAME } else { "qrnn" };
        if !jupyter.join("kernels").join(kernel).join("kernel.json").exists() {
            return Err(Error::machine(
                format!("no kernel named {kernel} is installed in {}", prefix.display()),
                "install it there with `cargo xtask kernel --prefix`, or leave --prefix out",
            ));
        }
        terminal::note(format_args!("preparing Python in {}", work.display()));
        let (name, requirements, program) = match self.lab {
            true => ("lab", LAB_REQUIREMENTS, LAB),
            false => ("run", install::CLIENTS, RUNNER),
        };
        let venv = Venv::fresh(&work.join(format!("{name}-venv")), requirements)?;
        let script = work.join(format!("{name}.py"));
        fs_err::write(&script, program)?;

        let mut failed = vec![];
        for file in &files {
            terminal::note(file.display());
            let mut run = venv.python();
            run.arg(&script).arg(file).args(self.save.then_some("--save"));
            if self.stock {
                // The first cell waits for the build.
                run.args(["--kernel", kernel, "--timeout", "3600"])
                    .env("EVCXR_TMPDIR", build.path());
            }
            if self.lab {
                run.arg("--out").arg(work.join("screenshots"));
            }
            // The kernel under test, and nothing of what the user has installed or set.
            run.env("JUPYTER_PATH", &jupyter)
                .env("JUPYTER_DATA_DIR", work.join("data"))
                .env("JUPYTER_RUNTIME_DIR", work.join("runtime"))
                .env("JUPYTER_NO_CONFIG", "1");
            if !run.status().map_err(Error::io(&script, "run"))?.success() {
                failed.push(file);
            }
        }
        if failed.is_empty() {
            terminal::note(format_args!("{} notebooks ran to their end", files.len()));
            return Ok(ExitCode::SUCCESS);
        }
        for file in failed {
            terminal::note(format_args!("failed: {}", file.display()));
        }
        Ok(ExitCode::FAILURE)
    }
}

/// Installs the kernel into `prefix`, by the command that users have; its status where it fails.
fn install_kernel(prefix: &Path, stock: bool) -> Result<Result<PathBuf, ExitCode>> {
    let xtask = std::env::current_exe().map_err(Error::io("xtask", "find"))?;
    let mut install = Command::new(&xtask);
    let status = install.args(["kernel", "--prefix"]).arg(prefix);
    let status = status.args(stock.then_some("--stock")).status();
    let status = status.map_err(Error::io(&xtask, "run"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(if status.success() { Ok(prefix.into()) } else { Err(ExitCode::from(code)) })
}

/// The notebooks of a folder, by name.
fn all(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ipynb") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What anybody sees who opens them: nbformat 4, our kernel, no cell without an id.
    #[test]
    fn the_notebooks_are_of_our_kernel_and_in_order() {
        let files = all(&workspace::root().join("notebooks")).unwrap();
        assert!(files.len() >= 9, "{files:?}");
        for file in files {
            let text = fs_err::read_to_string(&file).unwrap();
            let notebook: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(notebook["nbformat"], 4, "{}", file.display());
            assert_eq!(notebook["metadata"]["kernelspec"]["name"], "qrnn");
            assert_eq!(notebook["metadata"]["kernelspec"]["language"], "rust");
            let cells = notebook["cells"].as_array().unwrap();
            assert!(cells.iter().all(|cell| cell["id"].is_string()));
            assert_eq!(cells[0]["cell_type"], "markdown");
            // For the stock kernel.
            let code = cells.iter().find(|cell| cell["cell_type"] == "code").unwrap();
            assert_eq!(code["source"][0], ":dep qrnn = { path = \"..\" }\n", "{}", file.display());
        }
    }

    #[test]
    fn every_requirement_has_one_version() {
        let lines = install::CLIENTS.lines().chain(LAB_REQUIREMENTS.lines());
        let lines = lines.filter(|line| !line.starts_with('#'));
        assert!(lines.clone().any(|line| line.starts_with("nbclient==")));
        for line in lines {
            assert!(
                line.split_once("==").is_some_and(|(_, version)| !version.is_empty()),
                "{line}"
            );
        }
    }
}
