//! `cargo xtask setup`: a libtorch that torch-sys can link against, in `.libtorch/current`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::pins::VERSION;
use crate::stamp::{self, Stamp};
use crate::{download, preflight, unpack};

/// Where libtorch comes from.
#[derive(Debug, PartialEq)]
pub enum Libtorch {
    /// `.libtorch/current`, as `.cargo/config.toml` says.
    Ours,
    /// The user's own, by LIBTORCH.
    Theirs(PathBuf),
}

/// The workspace's root.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).into()
}

/// Makes libtorch ready; nothing is done twice.
///
/// # Errors
/// What is missing on this machine, a download that fails, a full disk.
pub fn run() -> Result<Libtorch> {
    let root = root();
    let ours = root.join(".libtorch/current");
    if let Some(theirs) = of_user(std::env::var_os("LIBTORCH"), &ours) {
        check_theirs(&theirs)?;
        eprintln!("using LIBTORCH={}", theirs.display());
        return Ok(Libtorch::Theirs(theirs));
    }
    let home = root.join(".libtorch");
    fs::create_dir_all(&home).map_err(Error::io(&home, "create"))?;
    // A second set-up at the same time waits for the first, and then finds its work done.
    let lock_path = home.join("lock");
    let lock = File::create(&lock_path).map_err(Error::io(&lock_path, "create"))?;
    lock.lock().map_err(Error::io(&lock_path, "lock"))?;

    match stamp::amiss(&ours) {
        None => {
            eprintln!("libtorch {VERSION} is in place: {}", ours.display());
            return Ok(Libtorch::Ours);
        }
        Some(problem) if ours.exists() => eprintln!("libtorch is installed anew: {problem}"),
        Some(_) => {}
    }
    preflight::check(&root)?;
    install(&home, &ours)?;
    eprintln!("libtorch {VERSION} installed: {}", ours.display());
    Ok(Libtorch::Ours)
}

/// Downloads and unpacks beside the place, then renames: what bears the final name is whole.
fn install(home: &Path, ours: &Path) -> Result<()> {
    remove_partials(home)?;
    let downloads = home.join("download");
    let wheels = download::wheels(&downloads)?;
    let partial = home.join(format!("partial-{}", std::process::id()));
    for (wheel, path) in &wheels {
        unpack::wheel(wheel, path, &partial)?;
    }
    let link = partial.join("lib/libtorch.so");
    std::os::unix::fs::symlink("libtorch_cpu.so", &link).map_err(Error::io(&link, "create"))?;
    let version = partial.join("build-version");
    fs::write(&version, VERSION).map_err(Error::io(&version, "write"))?;
    Stamp::of(&partial)?.write(&partial)?;
    remove(ours)?;
    fs::rename(&partial, ours).map_err(Error::io(ours, "rename to"))?;
    // Half a gigabyte that nobody needs any more.
    remove(&downloads)
}

fn remove_partials(home: &Path) -> Result<()> {
    for entry in fs::read_dir(home).map_err(Error::io(home, "read"))? {
        let path = entry.map_err(Error::io(home, "read"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("partial-") {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a folder, a file or a link, if there is one.
fn remove(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
        .map_err(Error::io(path, "delete"))
}

/// The LIBTORCH that a user set; cargo itself sets the one of `.cargo/config.toml`.
fn of_user(variable: Option<OsString>, ours: &Path) -> Option<PathBuf> {
    variable.filter(|value| !value.is_empty() && value != ours.as_os_str()).map(PathBuf::from)
}

fn check_theirs(folder: &Path) -> Result<()> {
    let refuse = |problem: String| {
        Err(Error::machine(
            format!("LIBTORCH is {}, but {problem}", folder.display()),
            "unset LIBTORCH to have one installed here, or set it to a whole libtorch 2.11.0",
        ))
    };
    if !folder.join("include/ATen").is_dir() {
        return refuse("it has no include/ATen".into());
    }
    let lib = folder.join("lib");
    if !lib.join("libtorch_cpu.so").exists() && !lib.join("libtorch_cpu.dylib").exists() {
        return refuse("it has no lib/libtorch_cpu.so".into());
    }
    match fs::read_to_string(folder.join("build-version")) {
        Ok(version) if !version.starts_with("2.11.0") => {
            refuse(format!("it is version {}, and tch 0.24 binds 2.11.0", version.trim()))
        }
        _ => Ok(()),
    }
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
        assert_eq!(of_user(Some("/opt/libtorch".into()), ours), Some("/opt/libtorch".into()));
    }

    #[test]
    fn a_libtorch_of_the_user_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let message = || check_theirs(path).unwrap_err().to_string();
        assert!(message().contains("include/ATen"));
        fs::create_dir_all(path.join("include/ATen")).unwrap();
        assert!(message().contains("libtorch_cpu.so"));
        fs::create_dir_all(path.join("lib")).unwrap();
        fs::write(path.join("lib/libtorch_cpu.so"), "").unwrap();
        check_theirs(path).unwrap();
        fs::write(path.join("build-version"), "2.9.0+cpu\n").unwrap();
        assert!(message().contains("2.9.0+cpu"));
        fs::write(path.join("build-version"), "2.11.0+cpu\n").unwrap();
        check_theirs(path).unwrap();
    }

    #[test]
    fn what_an_interrupted_setup_left_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let left = home.path().join("partial-1/lib");
        fs::create_dir_all(&left).unwrap();
        fs::create_dir_all(home.path().join("current")).unwrap();
        remove_partials(home.path()).unwrap();
        assert!(!home.path().join("partial-1").exists());
        assert!(home.path().join("current").exists());
    }
}
