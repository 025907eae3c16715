//! The installed preloaded library: qrnn and tch, which every cell finds loaded.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::toolchain::rustc;

/// File with rustc's arguments for cells, one a line.
pub const ARGUMENTS: &str = "cell.args";
const LIBRARY: &str = "libqrnn_preload.so";
const BUILD_RECORD: &str = "preload.json";
const LOCK: &str = "Cargo.lock";
/// The crates that cells can name.
const CRATES: [&str; 3] = ["qrnn_preload", "qrnn", "tch"];

/// A folder with the library, the metadata of all crates in it, and a record of how it was built.
pub struct Preload {
    folder: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct BuildRecord {
    /// `rustc -vV`: a crate's metadata is for exactly one compiler.
    rustc: String,
    #[serde(default)]
    sysroot: Option<PathBuf>,
    libtorch: PathBuf,
    /// The clone of qrnn.
    sources: PathBuf,
}

impl Preload {
    /// The folder next to the installed program, or QRNN_JUPYTER_PRELOAD_FOLDER.
    pub fn find(program: &Path) -> Result<Self> {
        let set = std::env::var_os("QRNN_JUPYTER_PRELOAD_FOLDER").map(PathBuf::from);
        let installed = program.parent().and_then(Path::parent).map(|home| home.join("preload"));
        let preload = Self { folder: set.or(installed).unwrap_or_default() };
        if preload.library().is_file() {
            return Ok(preload);
        }
        Err(Error::Missing {
            what: format!("{} does not exist", preload.library().display()),
            remedy: "run `cargo xtask kernel` in the clone of qrnn, and start the kernel from \
                     Jupyter"
                .into(),
        })
    }

    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn of_library(library: &Path) -> Self {
        Self { folder: library.parent().unwrap_or(Path::new("")).into() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn library(&self) -> PathBuf {
        self.folder.join(LIBRARY)
    }

    fn record(&self) -> Result<BuildRecord> {
        let path = self.folder.join(BUILD_RECORD);
        let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
        serde_json::from_str(&text).map_err(|error| Error::file(&path, error.to_string()))
    }

    /// The clone of qrnn that it was built from.
    pub fn sources(&self) -> Result<PathBuf> {
        Ok(self.record()?.sources)
    }

    pub fn libtorch(&self) -> Result<PathBuf> {
        Ok(self.record()?.libtorch)
    }

    /// The sysroot of the toolchain that built it, if it still exists.
    pub fn toolchain(&self) -> Option<PathBuf> {
        self.record().ok()?.sysroot.filter(|sysroot| sysroot.join("bin/rustc").is_file())
    }

    /// The Cargo.lock that it was built with.
    pub fn lock(&self) -> Option<PathBuf> {
        Some(self.folder.join(LOCK)).filter(|lock| lock.is_file())
    }

    /// The preloaded crates as lines of a manifest; `None` if the clone no longer exists.
    pub fn dependencies(&self) -> Option<String> {
        let sources = self.sources().ok()?;
        let (qrnn, preload) = (sources.to_str()?, sources.join("crates/qrnn-jupyter/preload"));
        let preload = preload.to_str()?;
        sources.join("Cargo.toml").is_file().then(|| {
            format!(
                "qrnn = {{ path = {qrnn:?} }}\nqrnn-preload = {{ path = {preload:?} }}\n\
                 tch = {{ version = \"*\", default-features = false }}\n"
            )
        })
    }

    /// Fails if rustc is no longer the one that built it.
    pub fn check(&self) -> Result<()> {
        let (built, current) = (self.record()?.rustc, rustc::version()?);
        if built == current {
            return Ok(());
        }
        let line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        Err(Error::Missing {
            what: format!(
                "the preloaded library was built by {}, but rustc is now {}",
                line(&built),
                line(&current)
            ),
            remedy: "run `cargo xtask kernel` again".into(),
        })
    }

    /// Copies the files that cargo built to `folder`, and replaces an earlier installation.
    pub fn install(
        artifacts: &[PathBuf],
        folder: &Path,
        libtorch: &Path,
        sources: &Path,
    ) -> Result<Self> {
        let fresh = folder.with_extension("new");
        let write = |name: &str, text: String| {
            let path = fresh.join(name);
            fs::write(&path, text).map_err(Error::io(&path, "write"))
        };
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).map_err(Error::io(&fresh, "create"))?;
        let (mut arguments, mut libraries) = (vec![], 0);
        for artifact in artifacts {
            let Some(name) = artifact.file_name().and_then(|name| name.to_str()) else { continue };
            libraries += usize::from(name == LIBRARY);
            // The code of an rlib is in the library; cells need its metadata only.
            let metadata = artifact.with_extension("rmeta");
            let from =
                if name.ends_with(".rlib") && metadata.is_file() { &metadata } else { artifact };
            let Some(name) = from.file_name() else { continue };
            fs::copy(from, fresh.join(name)).map_err(Error::io(from, "copy"))?;
            let stem = name.to_string_lossy();
            let krate = stem.trim_start_matches("lib").split(['-', '.']).next().unwrap_or_default();
            if CRATES.contains(&krate) {
                arguments.push("--extern".to_owned());
                arguments.push(format!("{krate}={}", folder.join(name).display()));
            }
        }
        if libraries != 1 || arguments.len() != 2 * CRATES.len() {
            return Err(Error::file(folder, format!("not all of {CRATES:?} were built")));
        }
        let shown = folder.display();
        arguments.push(format!("-Ldependency={shown}"));
        arguments.push(format!("-Lnative={}", libtorch.join("lib").display()));
        arguments.push(format!("-Clink-arg=-Wl,-rpath,{shown}"));
        // Link-time optimization of a cell takes longer than it saves.
        arguments.push("-Clto=off".to_owned());
        write(ARGUMENTS, arguments.join("\n") + "\n")?;
        let lock = sources.join(LOCK);
        fs::copy(&lock, fresh.join(LOCK)).map_err(Error::io(&lock, "copy"))?;
        let record = BuildRecord {
            rustc: rustc::version()?,
            sysroot: Some(rustc::ask(&["--print", "sysroot"])?.trim().into()),
            libtorch: libtorch.into(),
            sources: sources.into(),
        };
        let record = serde_json::to_string_pretty(&record)
            .map_err(|error| Error::file(&fresh, error.to_string()))?;
        write(BUILD_RECORD, record)?;
        // Running kernels keep the files that they have open.
        let _ = fs::remove_dir_all(folder);
        fs::rename(&fresh, folder).map_err(Error::io(folder, "replace"))?;
        Ok(Self { folder: folder.into() })
    }
}
