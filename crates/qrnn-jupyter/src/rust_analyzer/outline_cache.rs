//! The outlines of the preloaded crates, computed when the kernel is installed. Splitting 14 MB into
//! tokens would take a starting kernel a quarter of a second on two processors.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use crate::rust_analyzer::outline::{blank_ranges, outline, with_blanks};
use crate::rust_analyzer::project::{Crate, Project};

pub const FILE: &str = "outlines.json";

/// Outlines by path.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct OutlineCache(HashMap<PathBuf, Outline>);

#[derive(Debug, Serialize, Deserialize)]
struct Outline {
    stamp: Stamp,
    /// Starts and ends.
    blanks: Vec<(usize, usize)>,
}

/// A file's length, and its modification time in seconds and nanoseconds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stamp(u64, i64, i64);

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self(file.len(), file.mtime(), file.mtime_nsec())
    }
}

impl OutlineCache {
    pub fn make(project: &Project) -> Self {
        let outlined = project.crates.iter().filter(|krate| krate.outlined);
        let files: Vec<PathBuf> = outlined.flat_map(Crate::files).collect();
        let outline = |path: PathBuf| {
            let stamp = Stamp::of(&fs::metadata(&path).ok()?);
            let blanks = blank_ranges(&fs::read_to_string(&path).ok()?).into_iter();
            let blanks = blanks.map(|Range { start, end }| (start, end)).collect();
            Some((path, Outline { stamp, blanks }))
        };
        Self(files.into_par_iter().filter_map(outline).collect())
    }

    /// A file's outline, computed if it is not cached or the file has changed.
    pub fn outline(&self, path: &Path) -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        let cached = self
            .0
            .get(path)
            .filter(|cached| fs::metadata(path).is_ok_and(|file| Stamp::of(&file) == cached.stamp));
        let cached = cached.and_then(|cached| {
            let blanks: Vec<_> = cached.blanks.iter().map(|(start, end)| *start..*end).collect();
            with_blanks(&text, &blanks)
        });
        Some(cached.unwrap_or_else(|| outline(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json_file;
    use crate::rust_analyzer::project::Crate;

    #[test]
    fn an_outline_is_cached_until_its_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("lib.rs");
        fs::write(&root, "fn f() { 1 } fn g() { 2 }").unwrap();
        let krate = Crate {
            name: "one".into(),
            root: root.clone(),
            edition: "2024".into(),
            outlined: true,
            ..Crate::default()
        };
        let project = Project { crates: vec![krate], ..Project::default() };
        let stored = folder.path().join(FILE);
        json_file::write(&stored, &OutlineCache::make(&project)).unwrap();
        let mut cache: OutlineCache = json_file::read(&stored);
        let outline = "fn f() {   } fn g() {   }";
        assert_eq!(cache.outline(&root).unwrap(), outline);
        // The cached ranges are used.
        cache.0.get_mut(&root).unwrap().blanks.pop();
        assert_eq!(cache.outline(&root).unwrap(), "fn f() {   } fn g() { 2 }");
        fs::write(&root, "fn g() { 2 }\n").unwrap();
        assert_eq!(cache.outline(&root).unwrap(), "fn g() {   }\n");
        assert_eq!(OutlineCache::default().outline(&root).unwrap(), "fn g() {   }\n");
        assert!(cache.outline(&folder.path().join("none.rs")).is_none());
    }
}
