//! LD_LIBRARY_PATH of the evaluation process: a torch that does not fit is passed over.
//!
//! The variable comes before the place where the preloaded library has its libtorch, which is how a
//! machine with a GPU brings its own. The loader reads it when a process starts, so another value
//! takes another start of the process; cells and the programs that they start see the user's own.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::brought;
use crate::toolchain::preload::Preload;

const VARIABLE: &str = "LD_LIBRARY_PATH";
/// The user's own, in a process that was started anew.
const USERS: &str = "QRNN_JUPYTER_LIBRARY_PATH";

/// As it was when the process started.
#[derive(Debug)]
pub struct LibraryPath {
    environment: Vec<(OsString, OsString)>,
    /// The user's own, where there is one.
    users: Option<OsString>,
}

impl LibraryPath {
    /// Called before any thread has started. Starts the process anew where a folder on the path is
    /// known to hold another version.
    pub fn settle() -> Self {
        let environment: Vec<_> = std::env::vars_os().collect();
        if let Some(users) = std::env::var_os(USERS) {
            // SAFETY: no other thread has started yet.
            unsafe {
                std::env::remove_var(USERS);
                std::env::set_var(VARIABLE, &users);
            }
            return Self { environment, users: Some(users) };
        }
        let path = Self { environment, users: std::env::var_os(VARIABLE) };
        if let Some(users) = &path.users
            && let left = without_others(users)
            && left != *users
        {
            path.start_anew(&left);
        }
        path
    }

    /// The library could not be loaded: starts the process anew with the libtorch that it was built
    /// against first on the path. Returns where that cannot help, or was done.
    pub fn without_the_users(&self, library: &Path) {
        let Ok(own) = Preload::of_library(library).libtorch() else { return };
        let mut path = own.join("lib").into_os_string();
        if let Some(users) = &self.users
            && std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty())
            && !self.loaders().as_bytes().starts_with(path.as_bytes())
        {
            path.push(":");
            path.push(without_others(users));
            self.start_anew(&path);
        }
    }

    /// What the loader goes by.
    fn loaders(&self) -> OsString {
        let found = self.environment.iter().find(|(name, _)| name == VARIABLE);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    fn start_anew(&self, path: &OsStr) {
        let Ok(program) = std::env::current_exe() else { return };
        let mut command = Command::new(program);
        command
            .args(std::env::args_os().skip(1))
            .env_clear()
            .envs(self.environment.iter().cloned());
        command.env(VARIABLE, path).env(USERS, self.users.clone().unwrap_or_default());
        let error = command.exec();
        crate::terminal::note(format_args!(
            "the evaluation process cannot be started anew: {error}"
        ));
    }
}

/// The path without the folders that hold a torch of another version.
pub fn without_others(path: &OsStr) -> OsString {
    let others = brought::on_path(path).into_iter().filter(brought::Brought::is_other);
    let others: Vec<_> = others.map(|torch| torch.folder.into_os_string().into_vec()).collect();
    let left = path.as_bytes().split(|byte| b":;".contains(byte));
    let left: Vec<_> = left.filter(|folder| !others.iter().any(|o| o == folder)).collect();
    OsString::from_vec(left.join(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_another_torch_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str, version: &str| {
            let lib = root.path().join(name).join("lib");
            std::fs::create_dir_all(&lib).unwrap();
            std::fs::write(lib.join("libtorch_cpu.so"), "").unwrap();
            std::fs::write(lib.with_file_name("build-version"), version).unwrap();
            lib.into_os_string()
        };
        let (old, ours) = (make("old", "2.10.0"), make("ours", "2.11.0+cu130"));
        let path = |folders: &[&OsStr]| folders.join(OsStr::new(":"));
        let elsewhere = OsStr::new("/nonexistent/lib");
        let both = path(&[elsewhere, &old, &ours]);
        assert_eq!(without_others(&both), path(&[elsewhere, &ours]));
        assert_eq!(without_others(&old), "");
        for kept in [elsewhere, &ours, OsStr::new("")] {
            assert_eq!(without_others(kept), kept);
        }
    }
}
