//! Finds a user's libtorch on LD_LIBRARY_PATH, and its version.
//!
//! Uses std only: the Jupyter kernel, which does not link libtorch, includes this file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The version of libtorch that this program needs.
pub const VERSION: &str = "2.11.0";

const LIBRARY: &str = "libtorch_cpu.so";

/// A folder that contains libtorch.
#[derive(Debug, Clone, PartialEq)]
pub struct TorchFolder {
    /// The folder of libtorch_cpu.so.
    pub folder: PathBuf,
    /// The version according to the installation, `2.10.0+cpu` for example.
    pub version: Option<String>,
}

/// The installations on a search path like LD_LIBRARY_PATH, in its order.
pub fn on_path(search: &OsStr) -> Vec<TorchFolder> {
    let folders = search.as_bytes().split(|byte| b":;".contains(byte));
    // For the loader, an empty entry is the working directory.
    let folders = folders.map(|folder| if folder.is_empty() { b"." } else { folder });
    let mut found: Vec<TorchFolder> = vec![];
    for folder in folders.map(|folder| PathBuf::from(OsStr::from_bytes(folder))) {
        let version = version(&folder);
        let torch = TorchFolder { folder, version };
        if torch.library().exists() && !found.contains(&torch) {
            found.push(torch);
        }
    }
    found
}

impl TorchFolder {
    /// The path of libtorch_cpu.so.
    pub fn library(&self) -> PathBuf {
        self.folder.join(LIBRARY)
    }

    /// Whether it is known to be another version than [`VERSION`].
    pub fn is_other(&self) -> bool {
        let release = |version: &str| version.split('+').next() == Some(VERSION);
        self.version.as_deref().is_some_and(|version| !release(version))
    }
}

/// The version in `version.py` (a Python torch) or `build-version` (libtorch) next to `lib`. If the library
/// is a link, its target's folder is tried too.
fn version(folder: &Path) -> Option<String> {
    let library = folder.join(LIBRARY).canonicalize().ok();
    let target = library.as_deref().and_then(Path::parent);
    let absolute = folder.canonicalize().ok();
    let roots = [absolute.as_deref(), target].into_iter().flatten().filter_map(Path::parent);
    roots.filter_map(version_in).next()
}

fn version_in(root: &Path) -> Option<String> {
    if let Ok(text) = std::fs::read_to_string(root.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    let python = std::fs::read_to_string(root.join("version.py")).ok()?;
    let line = python.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(line.trim().trim_matches(['\'', '"']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_installation() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str, file: &str, text: &str| {
            let lib = root.path().join(name).join("lib");
            std::fs::create_dir_all(&lib).unwrap();
            std::fs::write(lib.join(LIBRARY), "").unwrap();
            std::fs::write(lib.with_file_name(file), text).unwrap();
            lib
        };
        let wheel = make("torch", "version.py", "a = 1\n__version__ = '2.10.0+cpu'\n");
        let ours = make("current", "build-version", "2.11.0+cu130\n");
        let unknown = make("other", "README", "");
        let links = root.path().join("links");
        std::fs::create_dir(&links).unwrap();
        std::os::unix::fs::symlink(wheel.join(LIBRARY), links.join(LIBRARY)).unwrap();
        let search = [&wheel, &ours, &unknown, &links, &wheel, &root.path().to_path_buf()];
        let search = std::env::join_paths(search).unwrap();
        let found = on_path(&search);
        let versions: Vec<_> = found.iter().map(|b| (b.version.as_deref(), b.is_other())).collect();
        let other = Some("2.10.0+cpu");
        let expected = [(other, true), (Some("2.11.0+cu130"), false), (None, false), (other, true)];
        assert_eq!(versions, expected);
        assert_eq!(found[1].library(), ours.join(LIBRARY));
        assert_eq!(on_path("".as_ref()), []);
    }
}
