//! Uses a libtorch from LD_LIBRARY_PATH instead of the one that the program was built with, for example
//! the CUDA build of a machine with a GPU.
//!
//! A libtorch that does not fit must not keep the program from starting. DT_RPATH therefore names the
//! program's own libtorch, and the loader searches it first (build.rs). `main` then searches
//! LD_LIBRARY_PATH. It skips other versions, tests in a child process whether the loader can bind the
//! program to the libraries, and if so executes the program again with them in LD_PRELOAD, which precedes
//! DT_RPATH.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use qrnn_ops::libtorch::search_path::{self, TorchFolder};

/// Tells a process that this one starts its purpose: `trial=` and the path of the library to test, or
/// [`CHOSEN`].
const STAGE: &str = "QRNN_TORCH_ON_PATH";
const TRIAL: &str = "trial=";
const CHOSEN: &str = "chosen";
const PRELOAD: &str = "LD_PRELOAD";

/// Libraries of libtorch that the program links directly. All must come from the same folder.
const LINKED: [&str; 3] = ["libgomp.so.1", "libc10.so", "libtorch_cpu.so"];

/// Executes the program again if LD_LIBRARY_PATH holds a libtorch that fits and is not loaded already.
/// Otherwise returns, after a note on standard error about each libtorch that was skipped.
pub fn use_torch_on_path() {
    let Some(stage) = std::env::var_os(STAGE) else { return restart_with_torch_on_path() };
    if let Some(library) = stage.as_bytes().strip_prefix(TRIAL.as_bytes()) {
        // The loader ignores a library in LD_PRELOAD that it cannot load.
        let library = Path::new(OsStr::from_bytes(library));
        let bound = loaded().is_some_and(|loaded| is_same_file(&loaded, library));
        std::process::exit(i32::from(!bound));
    }
}

fn restart_with_torch_on_path() {
    let Some(search) = std::env::var_os("LD_LIBRARY_PATH") else { return };
    let candidates = search_path::on_path(&search);
    let Some(loaded) = candidates.first().and_then(|_| loaded()) else { return };
    let (mut skipped, mut no_other) = (vec![], false);
    for torch in candidates {
        // If the program's own libtorch is missing, the loader has bound the first on the path, of any
        // version.
        let in_use = is_same_file(&torch.library(), &loaded);
        if in_use && !torch.is_other() {
            return;
        }
        no_other |= in_use;
        let reason = if torch.is_other() {
            format!("is torch {}", torch.version.as_deref().unwrap_or_default())
        } else {
            restart_with(&torch)
        };
        skipped.push(format!("{} {reason}", torch.folder.display()));
    }
    let folder = loaded.parent().unwrap_or(Path::new("")).display();
    let consequence = if no_other {
        format!("has no other than that in {folder}: it may fail or compute wrong results")
    } else {
        format!("uses the one in {folder}")
    };
    let _ = writeln!(
        std::io::stderr(),
        "note: LD_LIBRARY_PATH: {}; this program needs torch {} and {consequence}",
        skipped.join(", "),
        search_path::VERSION,
    );
}

/// Executes the program again with this torch. Returns why, if that is impossible.
fn restart_with(torch: &TorchFolder) -> String {
    let Some(libraries) = preload_list(torch) else {
        return "has a blank or a colon in its path".to_owned();
    };
    let mut trial = program(&libraries);
    let mut stage = OsString::from(TRIAL);
    stage.push(torch.library());
    trial.env(STAGE, stage).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !trial.status().is_ok_and(|status| status.success()) {
        return "cannot be loaded by this program".to_owned();
    }
    let mut arguments = std::env::args_os();
    let mut command = program(&libraries);
    command.arg0(arguments.next().unwrap_or_default()).args(arguments).env(STAGE, CHOSEN);
    // `exec` returns only if it fails.
    format!("cannot be used: {}", command.exec())
}

/// This program with these libraries.
fn program(libraries: &OsStr) -> Command {
    let this = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let mut command = Command::new(this);
    command.env(PRELOAD, libraries);
    command
}

/// A value of LD_PRELOAD with the libraries of this torch before the user's. `None` if the path has a
/// blank or a colon, which separate entries of the variable.
fn preload_list(torch: &TorchFolder) -> Option<OsString> {
    let folder = std::path::absolute(&torch.folder).ok()?;
    if folder.as_os_str().as_bytes().iter().any(|byte| b" :".contains(byte)) {
        return None;
    }
    let paths = LINKED.iter().map(|name| folder.join(name)).filter(|path| path.exists());
    let all: Vec<_> = paths.map(PathBuf::into_os_string).chain(std::env::var_os(PRELOAD)).collect();
    Some(all.join(OsStr::new(":")))
}

/// Path of the libtorch that the loader has mapped into this process.
fn loaded() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let path = PathBuf::from(&line[line.find('/')?..]);
        (path.file_name()? == "libtorch_cpu.so").then_some(path)
    })
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
