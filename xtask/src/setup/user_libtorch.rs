//! The user's libtorch, which LIBTORCH names.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::setup::pins::RELEASE;

/// The value of LIBTORCH, unless it is `ours`, which cargo sets from `.cargo/config.toml`.
pub fn of_user(variable: Option<OsString>, ours: &Path) -> Option<PathBuf> {
    // Compared as paths: a trailing slash makes no difference.
    variable.filter(|value| !value.is_empty()).map(PathBuf::from).filter(|path| path != ours)
}

pub fn check(folder: &Path) -> Result<()> {
    let libraries = ["libtorch_cpu.so", "libtorch.so", "libtorch_cpu.dylib"];
    let version = fs::read_to_string(folder.join("build-version")).unwrap_or_default();
    let problem = if folder.is_relative() {
        "it must be an absolute path: compilers run in other folders"
    } else if !folder.is_dir() {
        "there is no such folder"
    } else if !folder.join("include/ATen").is_dir() {
        "it has no include/ATen"
    } else if !libraries.iter().any(|library| folder.join("lib").join(library).exists()) {
        "it has neither lib/libtorch_cpu.so nor lib/libtorch.so"
    } else if !version.is_empty() && !version.starts_with(RELEASE) {
        &format!("it is libtorch {}, and tch binds {RELEASE}", version.trim())
    } else {
        return Ok(());
    };
    Err(Error::machine(
        format!("LIBTORCH is {}, but {problem}", folder.display()),
        format!(
            "unset LIBTORCH to have libtorch {RELEASE} installed here, or set it to a complete one"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_libtorch_that_is_not_ours_is_the_users() {
        let ours = Path::new("/project/.libtorch/current");
        assert_eq!(of_user(None, ours), None);
        assert_eq!(of_user(Some("".into()), ours), None);
        assert_eq!(of_user(Some(ours.into()), ours), None);
        assert_eq!(of_user(Some("/project/.libtorch/current/".into()), ours), None);
        assert_eq!(of_user(Some("/opt/libtorch".into()), ours), Some("/opt/libtorch".into()));
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let message = || check(path).unwrap_err().to_string();
        assert!(message().contains("include/ATen"));
        assert!(message().contains("unset LIBTORCH"));
        fs::create_dir_all(path.join("include/ATen")).unwrap();
        assert!(message().contains("libtorch_cpu.so"));
        fs::create_dir_all(path.join("lib")).unwrap();
        fs::write(path.join("lib/libtorch_cpu.so"), "").unwrap();
        check(path).unwrap();
        fs::write(path.join("build-version"), "2.9.0+cpu\n").unwrap();
        assert!(message().contains("2.9.0+cpu"));
        fs::write(path.join("build-version"), "2.11.0+cpu\n").unwrap();
        check(path).unwrap();
        assert!(check(&path.join("no")).unwrap_err().to_string().contains("no such folder"));
        assert!(check(Path::new("src")).unwrap_err().to_string().contains("absolute"));
    }
}
