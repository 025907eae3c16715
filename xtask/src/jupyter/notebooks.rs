//! Executes the notebooks: `cargo xtask notebooks`.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::jupyter::kernel::{CLIENT_REQUIREMENTS, Kernel};
use crate::jupyter::stock_kernel;
use crate::jupyter::venv::Venv;
use crate::{process, terminal, workspace};

const RUNNER: &str = include_str!("run.py");
const LAB_REQUIREMENTS: &str = include_str!("lab-requirements.txt");
const LAB: &str = include_str!("lab.py");

/// The notebook that `--lab` works in.
const TOUR: &str = "notebooks/01_tour.ipynb";

/// Execute every notebook through the Jupyter kernel
#[derive(Debug, clap::Args)]
pub struct Notebooks {
    /// Store the outputs in the notebooks
    #[arg(long)]
    save: bool,
    /// Work in the tour in JupyterLab as a user would, with the interrupt button pressed; needs Debian's
    /// chromium and chromium-driver
    #[arg(long, conflicts_with = "save")]
    lab: bool,
    /// Use the stock kernel, evcxr_jupyter, which builds the library in the first cell: minutes
    #[arg(long, conflicts_with_all = ["save", "lab"])]
    stock: bool,
    /// Run the experiments with widths divided by this instead of 10: a quick check
    #[arg(long, conflicts_with_all = ["save", "lab"])]
    scale: Option<f64>,
    /// Use the kernel that is installed in this folder instead of building one
    #[arg(long)]
    prefix: Option<PathBuf>,
    /// Notebooks [default: all in notebooks/]
    files: Vec<PathBuf>,
}

impl Notebooks {
    pub fn run(self) -> Result<()> {
        let work = workspace::root().join("target/notebooks");
        fs_err::create_dir_all(&work)?;
        let files = match (self.files.is_empty(), self.lab) {
            (true, true) => vec![workspace::root().join(TOUR)],
            (true, false) => all(),
            (false, _) => self.files,
        };
        let prefix = match self.prefix {
            Some(prefix) => prefix,
            None => {
                let prefix = work.join("prefix");
                Kernel { prefix: Some(prefix.clone()), stock: self.stock }.run()?;
                prefix
            }
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
        let (name, requirements, program) = if self.lab {
            ("lab", LAB_REQUIREMENTS, LAB)
        } else {
            ("run", CLIENT_REQUIREMENTS, RUNNER)
        };
        let venv = Venv::fresh(&work.join(format!("{name}-venv")), requirements)?;
        let script = work.join(format!("{name}.py"));
        fs_err::write(&script, program)?;
        // Kept for all notebooks, or evcxr would build anew for each. It must lie outside this workspace.
        let build = tempfile::Builder::new().prefix("qrnn-evcxr-").tempdir()?;

        let execute = |file: &Path| {
            terminal::note(file.display());
            let mut run = venv.python();
            run.arg(&script).arg(file).args(self.save.then_some("--save"));
            if self.stock {
                // The first cell waits for the build.
                run.args(["--kernel", kernel, "--timeout", "3600"]);
                run.env("EVCXR_TMPDIR", build.path());
            }
            if let Some(scale) = self.scale {
                run.arg("--scale").arg(format!("Scale::reduced({scale:?})"));
            }
            if self.lab {
                run.arg("--out").arg(work.join("screenshots"));
            }
            // Only the kernel under test, nothing that the user has installed or set.
            run.env("JUPYTER_PATH", &jupyter)
                .env("JUPYTER_DATA_DIR", work.join("data"))
                .env("JUPYTER_RUNTIME_DIR", work.join("runtime"))
                .env("JUPYTER_NO_CONFIG", "1");
            process::run(&mut run)
        };
        // While one notebook compiles a cell, another computes. The stock kernel shares one build folder.
        let at_once = if self.stock { 1 } else { 2 };
        let failed = process::at_once(at_once, &files, |file| execute(file))?;
        if failed.is_empty() {
            terminal::note(format_args!("{} notebooks ran to their end", files.len()));
            return Ok(());
        }
        let failed: Vec<String> = failed.iter().map(|file| file.display().to_string()).collect();
        Err(Error::failed(
            format!("these notebooks failed: {}", failed.join(", ")),
            "read what their cells say above",
        ))
    }
}

/// All notebooks, sorted by name.
fn all() -> Vec<PathBuf> {
    let pattern = workspace::root().join("notebooks/*.ipynb");
    glob::glob(&pattern.to_string_lossy()).into_iter().flatten().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Jupyter reads: nbformat 4, our kernel, an id in each cell.
    #[test]
    fn the_notebooks_are_of_our_kernel_and_in_order() {
        let files = all();
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

    /// `--scale` replaces it.
    #[test]
    fn the_experiments_are_written_at_the_scale_that_the_runner_knows() {
        let scale = RUNNER.lines().find_map(|line| line.strip_prefix("SCALE = ")).unwrap();
        let texts = all().into_iter().map(|file| fs_err::read_to_string(file).unwrap());
        let experiments: Vec<String> = texts.filter(|text| text.contains("Experiment")).collect();
        assert!(experiments.len() >= 3, "{experiments:?}");
        assert!(experiments.iter().all(|text| text.contains(scale.trim_matches('"'))));
    }

    #[test]
    fn every_requirement_has_one_version() {
        let lines = CLIENT_REQUIREMENTS.lines().chain(LAB_REQUIREMENTS.lines());
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
