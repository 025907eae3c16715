//! The commit that this program was built from.

use std::process::Command;

/// The value of QRNN_COMMIT, which whoever carries the program to another machine sets. Otherwise the abbreviated
/// commit of the source folder that this crate was built in, with "-dirty" if files differ from it. `None` if
/// neither is known.
///
/// Asked at run time: a build script that asked would rebuild the crate after every commit.
pub(super) fn commit() -> Option<String> {
    let given = std::env::var("QRNN_COMMIT").ok().filter(|commit| !commit.is_empty());
    given.or_else(|| {
        let git = Command::new("git")
            .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
            .args(["--abbrev=12", "--exclude=*"])
            .output()
            .ok()?;
        let commit = String::from_utf8(git.stdout).ok()?.trim().to_owned();
        (git.status.success() && !commit.is_empty()).then_some(commit)
    })
}
