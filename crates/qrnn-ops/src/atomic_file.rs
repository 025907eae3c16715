//! Writes files atomically.

use std::fs::File;
use std::io;
use std::path::Path;

/// Replaces the file at `path` by `bytes`, or leaves it unchanged on an error.
///
/// Writes, syncs and renames a temporary file in the same folder, which must exist. The permissions are
/// those of a new file (0666 less the umask).
///
/// # Errors
/// Returns the errors of the file system; the temporary file is then removed.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    write_by(path, |temporary| std::fs::write(temporary, bytes))
}

/// As [`write()`], for contents that do not fit in memory: `fill` writes or replaces the temporary file at
/// the path that it gets.
///
/// # Errors
/// As [`write()`], and the errors of `fill`.
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
    // tempfile's default, 0600, would hide the file from other users; the umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(folder).map_err(without_path)?;
    let permissions = temporary.as_file().metadata()?.permissions();
    let temporary = temporary.into_temp_path();
    fill(&temporary)?;
    let file = File::options().write(true).open(&temporary)?;
    file.set_permissions(permissions)?;
    file.sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    // Makes the rename durable; some file systems do not support it.
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Removes the temporary file's path, which tempfile adds to an error: callers name the file that was meant.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    io::Error::new(error.kind(), &text[..text.rfind(" at path ").unwrap_or(text.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_replaces_the_file_and_leaves_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_removes_the_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none/results.json");
        let error = write(&missing, b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
        // A folder at the path makes the rename fail.
        let occupied = folder.path().join("occupied");
        std::fs::create_dir(&occupied).unwrap();
        assert!(write(&occupied, b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_a_new_file() {
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
