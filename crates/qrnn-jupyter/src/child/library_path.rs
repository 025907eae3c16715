//! LD_LIBRARY_PATH of the child process: another version of torch on it is skipped.
//!
//! The variable has precedence over the libtorch that the preloaded library was linked with; a
//! machine with a GPU provides its own torch that way. The loader reads the variable when a process
//! starts, so a changed value needs a restart of the process. Cells and their programs see the
//! user's value.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::terminal;
use crate::toolchain::preload::Preload;
use crate::torch_search_path as search_path;

const VARIABLE: &str = "LD_LIBRARY_PATH";
/// The user's value, in a process that was restarted.
const USERS: &str = "QRNN_JUPYTER_LIBRARY_PATH";

pub struct LibraryPath {
    /// When the process started.
    environment: Vec<(OsString, OsString)>,
    users: Option<OsString>,
}

impl LibraryPath {
    /// Restarts the process if the path has another version of torch. Must be called before any
    /// thread starts.
    pub fn settle() -> Self {
        let environment: Vec<_> = std::env::vars_os().collect();
        if let Some(users) = std::env::var_os(USERS) {
            // SAFETY: no other thread has started.
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
            path.restart(&left);
        }
        path
    }

    /// After the library could not be loaded: restarts the process with the library's own libtorch
    /// first on the path. Returns if that was done before, or cannot help.
    pub fn restart_with_own_libtorch(&self, library: &Path) {
        let Ok(own) = Preload::of_library(library).libtorch() else { return };
        let mut path = own.join("lib").into_os_string();
        if let Some(users) = &self.users
            && std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty())
            && !self.loaders_value().as_bytes().starts_with(path.as_bytes())
        {
            path.push(":");
            path.push(without_others(users));
            self.restart(&path);
        }
    }

    /// The value that the loader has read.
    fn loaders_value(&self) -> &OsStr {
        let found = self.environment.iter().find(|(name, _)| name == VARIABLE);
        found.map_or(OsStr::new(""), |(_, value)| value)
    }

    fn restart(&self, path: &OsStr) {
        let Ok(program) = std::env::current_exe() else { return };
        let error = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env_clear()
            .envs(self.environment.iter().cloned())
            .env(VARIABLE, path)
            .env(USERS, self.users.clone().unwrap_or_default())
            .exec();
        terminal::eprint(format_args!("cannot restart the process that runs cells: {error}"));
    }
}

/// The path without folders that have another version of torch.
pub fn without_others(path: &OsStr) -> OsString {
    let others = search_path::on_path(path).into_iter().filter(search_path::TorchFolder::is_other);
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
        for unchanged in [elsewhere, &ours, OsStr::new("")] {
            assert_eq!(without_others(unchanged), unchanged);
        }
    }
}
