//! The preloaded crates as cargo and rustc describe them, stored when the kernel is installed.
//! Asking takes half a second at a time when a starting kernel keeps both processors busy.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::json_file;
use crate::rust_analyzer::outline_cache::{self, OutlineCache};
use crate::rust_analyzer::project::{self, Project};
use crate::toolchain::preload::Preload;

const FILE: &str = "analysis.json";

/// The stored files; each kernel copies them to its workdir.
pub const FILES: [&str; 2] = [FILE, outline_cache::FILE];

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    dependencies: String,
    project: Project,
}

/// Describes the preloaded crates, and stores the result next to the library. Without rust-src
/// nothing is stored, because it may be installed later.
pub fn store(preload: &Preload) -> Result<()> {
    for old in FILES.map(|name| preload.folder().join(name)) {
        match fs::remove_file(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&old, "delete")(error));
            }
            _ => {}
        }
    }
    let (Some(lock), Some(dependencies)) = (preload.lock(), preload.dependencies()) else {
        return Ok(());
    };
    let scratch = preload.folder().join("analysis");
    fs::create_dir_all(&scratch).map_err(Error::io(&scratch, "create"))?;
    let copied = fs::copy(&lock, scratch.join("Cargo.lock")).map_err(Error::io(&lock, "copy"));
    let project = copied.and_then(|_| project::find(&scratch, &dependencies));
    fs::remove_dir_all(&scratch).map_err(Error::io(&scratch, "delete"))?;
    let project = project?;
    if !is_complete(&project) {
        return Ok(());
    }
    json_file::write(&preload.folder().join(outline_cache::FILE), &OutlineCache::make(&project))?;
    json_file::write(&preload.folder().join(FILE), &Stored { dependencies, project })
}

/// The stored project, if it is for these dependencies and its sources still exist.
pub fn read(folder: &Path, dependencies: &str) -> Option<Project> {
    let stored: Stored = json_file::read::<Option<_>>(&folder.join(FILE))?;
    (stored.dependencies == dependencies && is_complete(&stored.project)).then_some(stored.project)
}

/// Whether it has the standard library and named crates, all with their sources.
fn is_complete(project: &Project) -> bool {
    !project.named.is_empty()
        && project.crates.iter().any(|krate| krate.standard && krate.name == "std")
        && project.crates.iter().all(|krate| krate.root.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rust_analyzer::project::Crate;

    #[test]
    fn a_project_is_read_back_while_it_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("lib.rs");
        fs::write(&root, "").unwrap();
        let krate = |name: &str, standard| Crate {
            name: name.into(),
            root: root.clone(),
            edition: "2024".into(),
            features: vec!["a".into()],
            standard,
            outlined: true,
            ..Crate::default()
        };
        let write = |crates: Vec<Crate>| {
            let named = vec![("qrnn".to_owned(), 1)];
            let cfg = vec![("unix".to_owned(), None)];
            let project = Project { crates, named, cfg, ..Project::default() };
            let stored = Stored { dependencies: "qrnn = 1".into(), project };
            let text = serde_json::to_string(&stored).unwrap();
            fs::write(folder.path().join(FILE), text).unwrap();
        };
        write(vec![krate("std", true), krate("qrnn", false)]);
        let project = read(folder.path(), "qrnn = 1").unwrap();
        assert_eq!(project.crates[1], krate("qrnn", false));
        assert_eq!(project.cfg, [("unix".to_owned(), None)]);
        assert!(read(folder.path(), "qrnn = 1\nrand = 2").is_none());
        fs::remove_file(&root).unwrap();
        assert!(read(folder.path(), "qrnn = 1").is_none());
        fs::write(&root, "").unwrap();
        write(vec![krate("core", true), krate("qrnn", false)]);
        assert!(read(folder.path(), "qrnn = 1").is_none());
    }
}
