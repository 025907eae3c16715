//! What rustc has told cargo, for the next kernel.
//!
//! Before it compiles, cargo asks rustc for its version and its targets, a dozen times until a kernel is
//! ready. It keeps the answers in its target folder, with a fingerprint of the compiler and of what stands
//! before it; but each kernel has a target folder of its own. So the first one leaves them with the
//! preloaded library. Where that folder is another user's, or the fingerprint another, cargo asks.

use std::fs;
use std::path::{Path, PathBuf};

use crate::toolchain::preload::Preload;

/// As cargo names it in a target folder.
const IN_TARGET: &str = ".rustc_info.json";
const KEPT: &str = "rustc-answers.json";

/// Gives cargo the answers of before, in a session's folder.
pub fn bring(preload: &Preload, session: &Path) {
    let target = target(session);
    let folder = target.parent().map(fs::create_dir_all);
    if matches!(folder, Some(Ok(()))) {
        let _ = fs::copy(preload.folder().join(KEPT), target);
    }
}

/// Keeps the answers that this session has heard, if they are new.
pub fn keep(preload: &Preload, session: &Path) {
    let kept = preload.folder().join(KEPT);
    let Ok(heard) = fs::read(target(session)) else { return };
    if fs::read(&kept).is_ok_and(|known| known == heard) {
        return;
    }
    // Kernels may start at once: a whole file takes the other's place.
    let fresh = kept.with_extension(std::process::id().to_string());
    if fs::write(&fresh, heard).and_then(|()| fs::rename(&fresh, &kept)).is_err() {
        let _ = fs::remove_file(fresh);
    }
}

fn target(session: &Path) -> PathBuf {
    session.join("target").join(IN_TARGET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_session_has_the_answers_of_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let preload = Preload::in_folder(folder.path().join("preload"));
        let sessions = ["first", "second"].map(|name| folder.path().join(name));
        // Nothing there yet, not even the folders.
        bring(&preload, &sessions[0]);
        keep(&preload, &sessions[0]);
        fs::create_dir(preload.folder()).unwrap();
        for answers in ["one", "two"] {
            fs::write(target(&sessions[0]), answers).unwrap();
            keep(&preload, &sessions[0]);
            bring(&preload, &sessions[1]);
            assert_eq!(fs::read_to_string(target(&sessions[1])).unwrap(), answers);
        }
        assert_eq!(fs::read_dir(preload.folder()).unwrap().count(), 1);
    }
}
