//! The environment for evcxr, cargo and rust-analyzer.
//!
//! Cells are compiled by the toolchain that built the preloaded library, because no other can link
//! it. rust-toolchain.toml, rustup overrides and variables of the user are overridden here; the
//! child process, which runs the cells, gets the user's own values back.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::toolchain::preload::Preload;
use crate::{env_vars, json_file};

/// File in the workdir: the changed variables with their new and old values.
const CHANGES: &str = "environment";

/// Variables that make cargo or rustc compile cells in another way or with another compiler.
const BUILD_SETTINGS: &str = "CARGO CARGO_BUILD_BUILD_DIR CARGO_BUILD_RUSTC \
    CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER CARGO_BUILD_RUSTC_WRAPPER CARGO_BUILD_RUSTFLAGS \
    CARGO_BUILD_TARGET CARGO_BUILD_TARGET_DIR CARGO_ENCODED_RUSTFLAGS CARGO_INCREMENTAL \
    CARGO_TARGET_DIR RUSTC RUSTC_BOOTSTRAP RUSTDOC RUSTFLAGS RUST_TARGET_PATH";

fn is_build_setting(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"CARGO_PROFILE_DEV_")
        || BUILD_SETTINGS.split(' ').any(|setting| name == setting)
}

/// Prepares the environment for evcxr. Must be called before any thread starts.
pub fn prepare(program: &Path, workdir: &Path, interrupt_counter: &Path) -> Result<()> {
    let preload = Preload::find(program)?;
    let mut changes = Changes::default();
    changes.use_toolchain(&preload);
    preload.check()?;
    // The second variable overrides a wrapper in the user's configuration. If it were empty, cargo
    // would not cache rustc's answers.
    for name in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        changes.change(name.as_ref(), Some(program.into()));
    }
    // evcxr's own rust-analyzer gets an empty standard library: rustc tells the types, and if
    // rust-src is missing, evcxr would download it while a cell runs.
    let library = workdir.join("library");
    let core = library.join("core/src");
    std::fs::create_dir_all(&core).map_err(Error::io(&core, "create"))?;
    std::fs::write(core.join("lib.rs"), "").map_err(Error::io(&core, "write"))?;
    let variables: [(&str, PathBuf); 7] = [
        ("EVCXR_TMPDIR", workdir.into()),
        // A folder that does not exist: evcxr must not read the user's configuration.
        ("EVCXR_CONFIG_DIR", workdir.join("config")),
        (env_vars::WRAPPER, "1".into()),
        (env_vars::PRELOAD, preload.library()),
        (env_vars::INTERRUPTS, interrupt_counter.into()),
        ("CARGO_TERM_COLOR", "never".into()),
        ("RUST_SRC_PATH", library),
    ];
    for (name, value) in variables {
        set(name.as_ref(), Some(value.as_os_str()));
    }
    json_file::write(&workdir.join(CHANGES), &changes)
}

/// Makes a program without threads use the toolchain that compiles cells.
pub fn use_toolchain(preload: &Preload) {
    Changes::default().use_toolchain(preload);
}

/// Undoes what [`prepare`] changed, except variables that `:env` has changed since. Must be called
/// before any thread starts.
pub fn restore(workdir: &Path) {
    for Change { name, new, old } in json_file::read::<Changes>(&workdir.join(CHANGES)).0 {
        if std::env::var_os(&name) == new {
            set(&name, old.as_deref());
        }
    }
}

fn set(name: &OsStr, value: Option<&OsStr>) {
    // SAFETY: the callers run before any thread starts.
    unsafe {
        match value {
            Some(value) => std::env::set_var(name, value),
            None => std::env::remove_var(name),
        }
    }
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Change {
    name: OsString,
    new: Option<OsString>,
    old: Option<OsString>,
}

#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Changes(Vec<Change>);

impl Changes {
    fn use_toolchain(&mut self, preload: &Preload) {
        let names = std::env::vars_os().map(|(name, _)| name);
        for name in names.filter(|name| is_build_setting(name)).collect::<Vec<_>>() {
            self.change(&name, None);
        }
        let Some(toolchain) = preload.toolchain() else { return };
        let bin = toolchain.join("bin");
        // evcxr uses this path too. The variables are part of the fingerprint of cargo's cache of
        // rustc's answers, so all cargos must see the same.
        self.change("RUSTC".as_ref(), Some(bin.join("rustc").into()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(bin).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(path) {
            self.change("PATH".as_ref(), Some(path));
        }
        // rustup sets this for the cargos that it starts.
        let rustup = toolchain.parent().filter(|all| all.ends_with("toolchains"));
        if let Some(home) = rustup.and_then(Path::parent) {
            self.change("RUSTUP_HOME".as_ref(), Some(home.into()));
        }
        // evcxr asks rustup first; rustup accepts a folder here.
        self.change("RUSTUP_TOOLCHAIN".as_ref(), Some(toolchain.into()));
    }

    fn change(&mut self, name: &OsStr, new: Option<OsString>) {
        let old = std::env::var_os(name);
        set(name, new.as_deref());
        self.record(name, new, old);
    }

    /// The old value of a variable that changes twice is the first one.
    fn record(&mut self, name: &OsStr, new: Option<OsString>, old: Option<OsString>) {
        match self.0.iter_mut().find(|change| change.name == name) {
            Some(change) => change.new = new,
            None => self.0.push(Change { name: name.into(), new, old }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn changes_are_read_back_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CHANGES);
        let odd = OsString::from_vec(b"/caf\xe9 = x".to_vec());
        let change = |name: &str, new, old| Change { name: name.into(), new, old };
        let changes = || {
            vec![
                change("NO_SUCH_VARIABLE", None, Some(odd.clone())),
                change("P", Some("x".into()), None),
            ]
        };
        json_file::write(&path, &Changes(changes())).unwrap();
        let read = |path: &Path| json_file::read::<Changes>(path).0;
        assert_eq!(read(&path), changes());
        assert_eq!(read(&folder.path().join("none")), []);
    }

    #[test]
    fn a_variable_that_changes_twice_keeps_its_first_value() {
        let mut changes = Changes::default();
        changes.record("RUSTC".as_ref(), None, Some("user's".into()));
        changes.record("RUSTC".as_ref(), Some("ours".into()), None);
        let [change] = &*changes.0 else { panic!("{changes:?}") };
        assert_eq!((&change.new, &change.old), (&Some("ours".into()), &Some("user's".into())));
    }

    #[test]
    fn build_settings_are_recognized() {
        for name in ["RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_PROFILE_DEV_OPT_LEVEL"] {
            assert!(is_build_setting(name.as_ref()), "{name}");
        }
        for name in ["PATH", "CARGO_HOME", "RUSTUP_HOME"] {
            assert!(!is_build_setting(name.as_ref()), "{name}");
        }
    }
}
