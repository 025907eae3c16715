//! What the kernel sets in its environment for evcxr, cargo and rust-analyzer.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::preload::Preload;
use crate::{analysis, compiler, evaluation, interrupts};

/// Called once, before any thread has started.
///
/// # Errors
/// Where the preloaded library is missing, or was built by another rustc.
pub fn prepare(program: &Path, session: &Path, counter: &Path) -> Result<()> {
    let preload = Preload::find(program)?;
    preload.check()?;
    let mut variables: Vec<(&str, PathBuf)> = vec![
        // evcxr works in the session's folder, and reads no configuration of the user's.
        ("EVCXR_TMPDIR", session.into()),
        ("EVCXR_CONFIG_DIR", session.join("config")),
        // Cargo runs this program in rustc's place.
        ("RUSTC_WRAPPER", program.into()),
        (compiler::ROLE, "1".into()),
        (evaluation::PRELOAD, preload.library()),
        (interrupts::VARIABLE, counter.into()),
        ("CARGO_TERM_COLOR", "never".into()),
    ];
    // evcxr's own rust-analyzer need not read the standard library, as rustc tells the types; where
    // rust-src is missing it would have rustup download it, in the middle of a cell.
    let library = session.join("library");
    let core = library.join("core/src");
    std::fs::create_dir_all(&core).map_err(Error::io(&core, "create"))?;
    std::fs::write(core.join("lib.rs"), "").map_err(Error::io(&core, "write"))?;
    variables.push(("RUST_SRC_PATH", library));
    for (name, value) in variables {
        // SAFETY: no other thread has started yet.
        unsafe { std::env::set_var(name, value) };
    }
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"]
    {
        // SAFETY: as above. They would come before what evcxr sets.
        unsafe { std::env::remove_var(name) };
    }
    Ok(())
}

/// Whether the standard library's sources are there (rustup's component rust-src).
pub fn has_sources() -> bool {
    let output = std::process::Command::new("rustc").args(["--print", "sysroot"]).output();
    output.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).into_owned();
        analysis::has_sources(&analysis::library(&sysroot))
    })
}
