//! Cargo's cache of rustc's answers, handed from one kernel to the next.
//!
//! Cargo asks rustc for its version and targets a dozen times before the first cell. It caches the
//! answers, with a fingerprint of the compiler, in the target folder, but every kernel has a new
//! target folder. So the cache is stored next to the preloaded library. If that folder is not
//! writable or the fingerprint differs, cargo asks rustc.

use std::fs;
use std::path::{Path, PathBuf};

use crate::toolchain::preload::Preload;

/// Cargo's name for it.
const IN_TARGET: &str = ".rustc_info.json";
const STORED: &str = "rustc-answers.json";

/// Copies the stored cache to the kernel's target folder.
pub fn load(preload: &Preload, workdir: &Path) {
    let target = target(workdir);
    let folder = target.parent().map(fs::create_dir_all);
    if matches!(folder, Some(Ok(()))) {
        let _ = fs::copy(preload.folder().join(STORED), target);
    }
}

/// Stores this kernel's cache if it changed.
pub fn store(preload: &Preload, workdir: &Path) {
    let stored = preload.folder().join(STORED);
    let Ok(new) = fs::read(target(workdir)) else { return };
    if fs::read(&stored).is_ok_and(|old| old == new) {
        return;
    }
    // Several kernels may do this at once, so the file is replaced as a whole.
    let temporary = stored.with_extension(std::process::id().to_string());
    if fs::write(&temporary, new).and_then(|()| fs::rename(&temporary, &stored)).is_err() {
        let _ = fs::remove_file(temporary);
    }
}

fn target(workdir: &Path) -> PathBuf {
    workdir.join("target").join(IN_TARGET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_kernel_gets_the_cache_of_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let preload = Preload::in_folder(folder.path().join("preload"));
        let kernels = ["first", "second"].map(|name| folder.path().join(name));
        // Neither folder exists yet.
        load(&preload, &kernels[0]);
        store(&preload, &kernels[0]);
        fs::create_dir(preload.folder()).unwrap();
        for answers in ["one", "two"] {
            fs::write(target(&kernels[0]), answers).unwrap();
            store(&preload, &kernels[0]);
            load(&preload, &kernels[1]);
            assert_eq!(fs::read_to_string(target(&kernels[1])).unwrap(), answers);
        }
        assert_eq!(fs::read_dir(preload.folder()).unwrap().count(), 1);
    }
}
