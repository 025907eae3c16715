//! What the kernel sets in its environment for evcxr, cargo and rust-analyzer.
//!
//! Cells are compiled by the toolchain that the preloaded library was built with, whatever the
//! notebook's folder (rust-toolchain.toml), rustup or the user's environment say: no other could
//! read that library. What is changed for this is put back for the process that runs the cells.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::child::interrupt::counter;
use crate::child::runtime;
use crate::error::{Error, Result};
use crate::rust_analyzer;
use crate::rustc::wrapper;
use crate::toolchain::preload::{self, Preload};

/// What was there before, in the session's folder.
const BEFORE: &str = "environment";

/// They would have cargo, rustc or rust-analyzer compile a cell in another way, or by another
/// compiler. What evcxr sets by itself (RUSTFLAGS, CARGO_TARGET_DIR) is for its own calls only.
const FOREIGN: [&str; 16] = [
    "CARGO",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUST_TARGET_PATH",
];
/// Settings of the profile that cells are compiled in, which is evcxr's.
const PROFILE: &str = "CARGO_PROFILE_DEV_";

/// Called once, before any thread has started.
///
/// # Errors
/// Where the preloaded library is missing, or was built by another rustc.
pub fn prepare(program: &Path, session: &Path, counter: &Path) -> Result<()> {
    let preload = Preload::find(program)?;
    let mut changes = Changes::default();
    changes.use_toolchain(&preload);
    preload.check()?;
    changes.set([
        // Cargo runs this program in the place of rustc. The second variable overrides a wrapper in the
        // user's configuration; were it empty, cargo would not cache what it asks rustc.
        ("RUSTC_WRAPPER", program.into()),
        ("RUSTC_WORKSPACE_WRAPPER", program.into()),
    ]);
    let mut variables: Vec<(&str, PathBuf)> = vec![
        // evcxr works in the session's folder, and reads no configuration of the user's.
        ("EVCXR_TMPDIR", session.into()),
        ("EVCXR_CONFIG_DIR", session.join("config")),
        (wrapper::ROLE, "1".into()),
        (runtime::PRELOAD, preload.library()),
        (counter::VARIABLE, counter.into()),
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
    changes.write(&session.join(BEFORE))
}

/// In a program without other threads: what is asked of rustc and cargo is asked of those that
/// compile cells.
pub fn use_toolchain(preload: &Preload) {
    Changes::default().use_toolchain(preload);
}

/// Puts back what [`prepare`] has changed of the user's own variables, where it is still as changed
/// (`:env` may have set it since). Called before any thread has started.
pub fn restore(session: &Path) {
    for (name, changed, before) in read(&session.join(BEFORE)) {
        if std::env::var_os(&name) != changed {
            continue;
        }
        // SAFETY: no other thread has started yet.
        unsafe {
            match before {
                Some(value) => std::env::set_var(name, value),
                None => std::env::remove_var(name),
            }
        }
    }
}

/// The user's variables as they were before each change.
#[derive(Debug, Default)]
struct Changes(Vec<(OsString, Option<OsString>)>);

impl Changes {
    fn use_toolchain(&mut self, preload: &Preload) {
        let foreign = std::env::vars_os().map(|(name, _)| name).filter(|name| {
            FOREIGN.iter().any(|foreign| name == foreign)
                || name.as_bytes().starts_with(PROFILE.as_bytes())
        });
        for name in foreign.collect::<Vec<_>>() {
            self.change(&name, None);
        }
        let Some(toolchain) = preload.toolchain() else { return };
        let bin = toolchain.join("bin");
        // As evcxr names it, so that what one cargo asks rustc is known to all.
        self.change("RUSTC".as_ref(), Some(bin.join("rustc").into()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        path.insert(0, bin);
        if let Ok(path) = std::env::join_paths(path) {
            self.change("PATH".as_ref(), Some(path));
        }
        // A cargo that rustup starts has this variable; so have all, for the same reason.
        let rustup = toolchain.parent().filter(|all| all.ends_with("toolchains"));
        if let Some(home) = rustup.and_then(Path::parent) {
            self.change("RUSTUP_HOME".as_ref(), Some(home.into()));
        }
        // For rustup, which evcxr asks first; it takes a folder for a name.
        self.change("RUSTUP_TOOLCHAIN".as_ref(), Some(toolchain.into()));
    }

    fn set(&mut self, variables: impl IntoIterator<Item = (&'static str, PathBuf)>) {
        for (name, value) in variables {
            self.change(name.as_ref(), Some(value.into()));
        }
    }

    fn change(&mut self, name: &OsStr, value: Option<OsString>) {
        self.0.push((name.into(), std::env::var_os(name)));
        // SAFETY: no other thread has started yet.
        unsafe {
            match value {
                Some(value) => std::env::set_var(name, value),
                None => std::env::remove_var(name),
            }
        }
    }

    /// Each as three parts that end with a zero byte: name, what it was changed to, what it was
    /// before; `=` before a value, nothing where there is none.
    fn write(&self, path: &Path) -> Result<()> {
        let mut bytes = vec![];
        for (name, before) in &self.0 {
            bytes.extend(name.as_bytes());
            for value in [&std::env::var_os(name), before] {
                bytes.push(0);
                if let Some(value) = value {
                    bytes.push(b'=');
                    bytes.extend(value.as_bytes());
                }
            }
            bytes.push(0);
        }
        std::fs::write(path, bytes).map_err(Error::io(path, "write"))
    }
}

/// Name, what it was changed to, what it was before.
fn read(path: &Path) -> Vec<(OsString, Option<OsString>, Option<OsString>)> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let parts: Vec<&[u8]> = bytes.split(|&byte| byte == 0).collect();
    let value = |part: &[u8]| part.strip_prefix(b"=").map(|v| OsString::from_vec(v.into()));
    let changes = parts.chunks_exact(3);
    changes.map(|c| (OsString::from_vec(c[0].into()), value(c[1]), value(c[2]))).collect()
}

/// Whether the standard library's sources are there (rustup's component rust-src).
pub fn has_sources() -> bool {
    preload::ask_rustc(&["--print", "sysroot"])
        .is_ok_and(|sysroot| rust_analyzer::has_sources(&rust_analyzer::library(&sysroot)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_read_back_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(BEFORE);
        let odd = OsString::from_vec(b"/caf\xe9 = x".to_vec());
        let changes = [("NO_SUCH_VARIABLE", Some(odd.clone())), ("PATH", None)];
        let changes = changes.map(|(name, before)| (OsString::from(name), before));
        Changes(changes.into()).write(&path).unwrap();
        let today = std::env::var_os("PATH");
        let expected = [("NO_SUCH_VARIABLE".into(), None, Some(odd)), ("PATH".into(), today, None)];
        assert_eq!(read(&path), expected);
        assert_eq!(read(&folder.path().join("none")), []);
    }
}
