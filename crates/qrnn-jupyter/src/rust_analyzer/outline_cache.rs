//! Where the outlines of the preloaded crates' sources have spaces, found when they are installed: to
//! split fourteen megabytes into tokens takes a starting kernel a quarter of a second on two processors.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::rust_analyzer::database::walk;
use crate::rust_analyzer::outline::{blanked, blanks, outline};
use crate::rust_analyzer::project::Project;

/// The file's name.
pub const FILE: &str = "outlines.json";

/// By the files' paths.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outlines(HashMap<PathBuf, Outline>);

#[derive(Debug, Serialize, Deserialize)]
struct Outline {
    stamp: Stamp,
    /// Beginnings and ends.
    blanks: Vec<(usize, usize)>,
}

/// A file's length, and the seconds and nanoseconds at which it was last changed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stamp(u64, i64, i64);

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self(file.len(), file.mtime(), file.mtime_nsec())
    }
}

impl Outlines {
    /// Of all crates that are shown as outlines.
    pub fn make(project: &Project) -> Self {
        let mut files = vec![];
        for krate in project.crates.iter().filter(|krate| krate.outlined) {
            walk(krate.root.parent().unwrap_or(Path::new("/")), &mut files);
        }
        let outline = |path: PathBuf| {
            let stamp = Stamp::of(&fs::metadata(&path).ok()?);
            let blanks = blanks(&fs::read_to_string(&path).ok()?).into_iter();
            let blanks = blanks.map(|Range { start, end }| (start, end)).collect();
            Some((path, Outline { stamp, blanks }))
        };
        Self(files.into_par_iter().filter_map(outline).collect())
    }

    /// # Errors
    /// Where the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_string(self);
        let text = text.map_err(|error| Error::file(&path, error.to_string()))?;
        fs::write(&path, text).map_err(Error::io(&path, "write"))
    }

    /// Those in a folder; none where there is no such file.
    pub fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join(FILE)).ok();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// A file's outline; made now where it was not known or the file has changed. None where the file
    /// cannot be read.
    pub fn of(&self, path: &Path) -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        let known = self
            .0
            .get(path)
            .filter(|known| fs::metadata(path).is_ok_and(|file| Stamp::of(&file) == known.stamp));
        let known = known.and_then(|known| {
            let blanks: Vec<_> = known.blanks.iter().map(|(start, end)| *start..*end).collect();
            blanked(&text, &blanks)
        });
        Some(known.unwrap_or_else(|| outline(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rust_analyzer::project::Crate;

    #[test]
    fn an_outline_is_known_until_its_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("lib.rs");
        fs::write(&root, "fn f() { 1 } fn g() { 2 }").unwrap();
        let krate = Crate {
            name: "one".into(),
            version: None,
            root: root.clone(),
            edition: "2024".into(),
            features: vec![],
            environment: vec![],
            dependencies: vec![],
            standard: false,
            outlined: true,
        };
        let project = Project { crates: vec![krate], ..Project::default() };
        Outlines::make(&project).write(folder.path()).unwrap();
        let mut known = Outlines::read(folder.path());
        let outline = "fn f() {   } fn g() {   }";
        assert_eq!(known.of(&root).unwrap(), outline);
        // What is known is what is used.
        known.0.get_mut(&root).unwrap().blanks.pop();
        assert_eq!(known.of(&root).unwrap(), "fn f() {   } fn g() { 2 }");
        fs::write(&root, "fn g() { 2 }\n").unwrap();
        assert_eq!(known.of(&root).unwrap(), "fn g() {   }\n");
        assert_eq!(Outlines::default().of(&root).unwrap(), "fn g() {   }\n");
        assert!(known.of(&folder.path().join("none.rs")).is_none());
    }
}
