//! Whether a file has changed. A file with the same length and modification time is not read.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fingerprint {
    length: u64,
    /// `None` if the file was written while rustc may have read it.
    modified: Option<SystemTime>,
    /// `None` if the file could not be read.
    hash: Option<u64>,
}

/// A file that was written again with the same content is unchanged.
impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        (self.length, self.hash) == (other.length, other.hash)
    }
}

impl Fingerprint {
    /// The file as it is now; `None` if it does not exist.
    pub fn of(path: &Path, known: Option<&Self>) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let (length, modified) = (metadata.len(), metadata.modified().ok());
        let unchanged = known.filter(|known| {
            modified.is_some() && (known.length, known.modified) == (length, modified)
        });
        Some(unchanged.cloned().unwrap_or_else(|| Self { length, modified, hash: hash(path) }))
    }

    /// For a compiler that ran since `start`: if the file was written later, it is unknown what the
    /// compiler read, and the fingerprint equals no other.
    pub fn read_since(mut self, start: SystemTime) -> Self {
        if self.modified.is_none_or(|modified| modified >= start) {
            (self.modified, self.hash) = (None, None);
        }
        self
    }
}

fn hash(path: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&std::fs::read(path).ok()?);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_content_decides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(Fingerprint::of(&path, None), None);
        std::fs::write(&path, "one").unwrap();
        let one = Fingerprint::of(&path, None).unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        std::fs::File::open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(Fingerprint::of(&path, Some(&one)).as_ref(), Some(&one));
        std::fs::write(&path, "two").unwrap();
        assert_ne!(Fingerprint::of(&path, Some(&one)).as_ref(), Some(&one));
        assert_eq!(one.clone().read_since(later), one);
        assert_ne!(one.clone().read_since(SystemTime::UNIX_EPOCH), one);
    }

    #[test]
    fn an_unchanged_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut known = Fingerprint::of(&path, None).unwrap();
        known.hash = Some(7);
        assert_eq!(Fingerprint::of(&path, Some(&known)).unwrap().hash, Some(7));
    }
}
