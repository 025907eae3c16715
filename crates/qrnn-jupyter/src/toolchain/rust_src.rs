//! The sources of the standard library (rustup's component rust-src).

use std::path::{Path, PathBuf};

use crate::toolchain::rustc;

/// Where they are in a sysroot.
pub fn library(sysroot: &str) -> PathBuf {
    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library")
}

/// Whether the folder has them.
pub fn is_complete(library: &Path) -> bool {
    ["core", "alloc", "std"].iter().all(|name| library.join(name).join("src/lib.rs").is_file())
}

pub fn is_installed() -> bool {
    rustc::ask(&["--print", "sysroot"]).is_ok_and(|sysroot| is_complete(&library(&sysroot)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_sources_is_recognized() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_complete(folder.path()));
        for name in ["core", "alloc", "std"] {
            let source = folder.path().join(name).join("src");
            std::fs::create_dir_all(&source).unwrap();
            std::fs::write(source.join("lib.rs"), "").unwrap();
        }
        assert!(is_complete(folder.path()));
    }
}
