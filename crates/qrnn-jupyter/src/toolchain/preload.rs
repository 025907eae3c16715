//! The library that every cell finds loaded, as it was installed.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// rustc's arguments for cells, a line each.
pub const ARGUMENTS: &str = "cell.args";
const LIBRARY: &str = "libqrnn_preload.so";
const NOTE: &str = "preload.json";
const LOCK: &str = "Cargo.lock";
/// Crates that cells name.
const NAMED: [&str; 3] = ["qrnn_preload", "qrnn", "tch"];

/// A folder with the library, the metadata of all crates in it, and a note on how it was built.
#[derive(Debug)]
pub struct Preload {
    folder: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// All that `rustc -vV` says: metadata is for the very same compiler only.
    rustc: String,
    /// Where that compiler lies (`rustc --print sysroot`).
    #[serde(default)]
    sysroot: Option<PathBuf>,
    libtorch: PathBuf,
    /// The clone of qrnn that it was built from.
    sources: PathBuf,
}

impl Preload {
    /// Beside the installed program, or where QRNN_JUPYTER_PRELOAD_FOLDER says.
    ///
    /// # Errors
    /// Where there is none.
    pub fn find(program: &Path) -> Result<Self> {
        let told = std::env::var_os("QRNN_JUPYTER_PRELOAD_FOLDER").map(PathBuf::from);
        let beside = program.parent().and_then(Path::parent).map(|home| home.join("preload"));
        let folder = told.or(beside).unwrap_or_default();
        let preload = Self { folder };
        if preload.library().is_file() {
            Ok(preload)
        } else {
            Err(Error::Missing {
                what: format!("there is no {}", preload.library().display()),
                remedy: "run `cargo xtask kernel` in the clone of qrnn, and start the kernel by \
                         Jupyter"
                    .into(),
            })
        }
    }

    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The one whose library this is.
    pub fn of_library(library: &Path) -> Self {
        Self { folder: library.parent().unwrap_or(Path::new("")).into() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn library(&self) -> PathBuf {
        self.folder.join(LIBRARY)
    }

    fn note(&self) -> Result<Note> {
        let path = self.folder.join(NOTE);
        let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
        serde_json::from_str(&text).map_err(|error| Error::file(&path, error.to_string()))
    }

    /// The clone of qrnn that it was built from.
    pub fn sources(&self) -> Result<PathBuf> {
        Ok(self.note()?.sources)
    }

    pub fn libtorch(&self) -> Result<PathBuf> {
        Ok(self.note()?.libtorch)
    }

    /// The folder of the toolchain that it was built with; none where that is gone.
    pub fn toolchain(&self) -> Option<PathBuf> {
        self.note().ok()?.sysroot.filter(|sysroot| sysroot.join("bin/rustc").is_file())
    }

    /// The versions that it was built of.
    pub fn lock(&self) -> Option<PathBuf> {
        Some(self.folder.join(LOCK)).filter(|lock| lock.is_file())
    }

    /// As a manifest names the crates that cells name; none where the clone is gone.
    pub fn dependencies(&self) -> Option<String> {
        let sources = self.note().ok()?.sources;
        let preload = sources.join("crates/qrnn-jupyter/preload");
        let path = |folder: &Path| folder.to_str().map(|folder| format!("{folder:?}"));
        let (qrnn, preload) = (path(&sources)?, path(&preload)?);
        sources.join("Cargo.toml").is_file().then(|| {
            format!(
                "qrnn = {{ path = {qrnn} }}\nqrnn-preload = {{ path = {preload} }}\n\
                 tch = {{ version = \"*\", default-features = false }}\n"
            )
        })
    }

    /// # Errors
    /// Where the rustc of today is not the one that built it.
    pub fn check(&self) -> Result<()> {
        let (built, today) = (self.note()?.rustc, rustc()?);
        if built == today {
            return Ok(());
        }
        let line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        Err(Error::Missing {
            what: format!("qrnn was preloaded by {}, but rustc is {}", line(&built), line(&today)),
            remedy: "run `cargo xtask kernel` again".into(),
        })
    }

    /// Puts the files that cargo built into `folder`, replacing what is there.
    ///
    /// # Errors
    /// Where a file is missing or cannot be written.
    pub fn install(
        artifacts: &[PathBuf],
        folder: &Path,
        libtorch: &Path,
        sources: &Path,
    ) -> Result<Self> {
        let fresh = folder.with_extension("new");
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).map_err(Error::io(&fresh, "create"))?;
        let (mut arguments, mut libraries) = (vec![], 0);
        for artifact in artifacts {
            let Some(name) = artifact.file_name().and_then(|name| name.to_str()) else { continue };
            let library = name == LIBRARY;
            // The metadata of what is inside the library suffices.
            let metadata = artifact.with_extension("rmeta");
            let from =
                if name.ends_with(".rlib") && metadata.is_file() { &metadata } else { artifact };
            let Some(name) = from.file_name() else { continue };
            fs::copy(from, fresh.join(name)).map_err(Error::io(from, "copy"))?;
            libraries += usize::from(library);
            let stem = name.to_string_lossy();
            let krate = stem.trim_start_matches("lib").split(['-', '.']).next().unwrap_or_default();
            if NAMED.contains(&krate) {
                arguments.push("--extern".to_owned());
                arguments.push(format!("{krate}={}", folder.join(name).display()));
            }
        }
        if libraries != 1 || arguments.len() != 2 * NAMED.len() {
            return Err(Error::file(folder, format!("not all of {NAMED:?} were built")));
        }
        let folder_text = folder.display();
        arguments.push(format!("-Ldependency={folder_text}"));
        arguments.push(format!("-Lnative={}", libtorch.join("lib").display()));
        arguments.push(format!("-Clink-arg=-Wl,-rpath,{folder_text}"));
        // Optimisation across the parts of a cell costs more than it saves.
        arguments.push("-Clto=off".to_owned());
        let arguments_file = fresh.join(ARGUMENTS);
        fs::write(&arguments_file, arguments.join("\n") + "\n")
            .map_err(Error::io(&arguments_file, "write"))?;
        let lock = sources.join(LOCK);
        fs::copy(&lock, fresh.join(LOCK)).map_err(Error::io(&lock, "copy"))?;
        let sysroot = ask_rustc(&["--print", "sysroot"])?;
        let note = Note {
            rustc: rustc()?,
            sysroot: Some(sysroot.trim().into()),
            libtorch: libtorch.into(),
            sources: sources.into(),
        };
        let note_file = fresh.join(NOTE);
        let text = serde_json::to_string_pretty(&note)
            .map_err(|error| Error::io(&note_file, "write")(error.into()))?;
        fs::write(&note_file, text).map_err(Error::io(&note_file, "write"))?;
        // Kernels that run keep the files that they have open.
        let _ = fs::remove_dir_all(folder);
        fs::rename(&fresh, folder).map_err(Error::io(folder, "replace"))?;
        Ok(Self { folder: folder.into() })
    }
}

/// # Errors
/// Where there is no rustc on the PATH.
pub fn rustc() -> Result<String> {
    ask_rustc(&["-vV"])
}

/// # Errors
/// Where there is no rustc on the PATH.
pub fn ask_rustc(arguments: &[&str]) -> Result<String> {
    // In a group of its own: an interrupt, which goes to the kernel's group, is none of its affair.
    let output = Command::new("rustc").args(arguments).process_group(0).output();
    let missing = |what: String| Error::Missing {
        what,
        remedy: "install Rust (https://rustup.rs), and see that rustc is on the PATH that Jupyter \
                 is started with"
            .into(),
    };
    let output = output.map_err(|error| missing(format!("rustc cannot be run: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(missing(format!("rustc does not work: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
