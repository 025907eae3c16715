//! Files of the repository that commands write.

use std::path::Path;

use crate::error::{Error, Result};
use crate::terminal;

/// Writes a file if its text has changed; with `check`, fails instead.
pub fn store(path: &Path, text: &str, check: bool, command: &str) -> Result<()> {
    if fs_err::read_to_string(path).is_ok_and(|stored| stored == text) {
        return Ok(());
    }
    if check {
        let remedy = format!("cargo xtask {command}, and commit what it wrote");
        return Err(Error::failed(format!("{} is stale", path.display()), remedy));
    }
    fs_err::write(path, text)?;
    terminal::note(format_args!("wrote {}", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_file_is_refused_or_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("FILE.md");
        let stale = store(&path, "new", true, "licenses").unwrap_err().to_string();
        assert!(stale.contains("FILE.md") && stale.contains("cargo xtask licenses"), "{stale}");
        assert!(!path.exists());
        store(&path, "new", false, "licenses").unwrap();
        store(&path, "new", true, "licenses").unwrap();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "new");
    }
}
