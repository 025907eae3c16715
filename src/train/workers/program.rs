//! The program that worker processes run.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The environment variable with the path of `reproduce`; the Jupyter kernel sets it.
const VARIABLE: &str = "QRNN_PROGRAM";

const NAME: &str = "reproduce";

/// Where `cargo build --release` of this repository puts it.
const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/release/reproduce");

/// Finds `reproduce`: in the environment, this program itself, in the repository, or on PATH.
///
/// # Errors
/// [`Error::Unavailable`] with the places that were tried.
pub(super) fn find() -> Result<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let own = std::env::current_exe().ok().filter(|path| path.file_stem() == Some(NAME.as_ref()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(NAME));
    let mut candidates = named.into_iter().chain(own).chain([BUILT.into()]).chain(on_path);
    candidates.find(|path| is_program(path)).ok_or_else(|| {
        Error::unavailable(
            "the program of worker processes",
            format!("there is no `{NAME}` at {BUILT}, at {VARIABLE} or on PATH"),
            "build it with `cargo build --release`, or name it with LocalWorkers::start_program",
        )
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
