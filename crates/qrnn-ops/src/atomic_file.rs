//! Files that appear whole or not at all.

use std::fs::File;
use std::io;
use std::path::Path;

/// Replaces the file at `path` by `bytes`, or leaves it as it was.
///
/// A temporary file in the same folder is filled, synced and renamed; the folder must exist.
/// The permissions are those of any new file (0666 less the umask).
///
/// # Errors
/// Where the folder or disk refuses; the temporary file is removed then.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    write_by(path, |temporary| std::fs::write(temporary, bytes))
}

/// [`write()`] for what is too long to be made in memory: `fill` writes to, or replaces, the
/// temporary file whose path it is given.
///
/// # Errors
/// As [`write()`], and what `fill` says.
pub fn write_by(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let path = path.as_ref();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-");
    // tempfile's own 0600 would hide a report from everyone else; the umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(folder)?;
    let permissions = temporary.as_file().metadata()?.permissions();
    let temporary = temporary.into_temp_path();
    fill(&temporary)?;
    let file = File::options().write(true).open(&temporary)?;
    file.set_permissions(permissions)?;
    file.sync_all()?;
    temporary.persist(path).map_err(|failed| failed.error)?;
    // The new name survives a power cut only once the folder is synced; some file systems refuse.
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_refusal_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none/results.json");
        assert_eq!(write(&missing, b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        // A folder in the file's place makes the last step, the rename, fail.
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        assert!(write(&taken, b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            let path = folder.path().join(name);
            std::fs::metadata(path).unwrap().permissions().mode()
        };
        std::fs::write(folder.path().join("plain"), b"x").unwrap();
        write(folder.path().join("ours"), b"x").unwrap();
        assert_eq!(mode("ours"), mode("plain"));
    }
}
