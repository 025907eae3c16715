//! What cargo and rustc say of the preloaded crates, asked when they are installed: a kernel that is
//! just starting has both processors at work, and asking takes it half a second.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::rust_analyzer::outline_cache::{self, Outlines};
use crate::rust_analyzer::project::{self, Asked, Project};
use crate::toolchain::preload::Preload;

const FILE: &str = "analysis.json";

/// What is kept with the preloaded library, and copied into the folder of a kernel's rust-analyzer.
pub const FILES: [&str; 2] = [FILE, outline_cache::FILE];

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// What was asked about.
    dependencies: String,
    project: Project,
}

/// Asks about the crates that every cell finds, and keeps the answer beside the library. Without the
/// standard library's sources nothing is kept: they may come later.
///
/// # Errors
/// Where the folder cannot be written, or rustc cannot be run.
pub fn keep(preload: &Preload) -> Result<()> {
    let kept = preload.folder().join(FILE);
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
    let asked = copied.and_then(|_| project::ask(&scratch, &dependencies)).map(Asked::project);
    fs::remove_dir_all(&scratch).map_err(Error::io(&scratch, "delete"))?;
    let project = asked?;
    if !is_whole(&project) {
        return Ok(());
    }
    Outlines::make(&project).write(preload.folder())?;
    let text = serde_json::to_string(&Kept { dependencies, project })
        .map_err(|error| Error::file(&kept, error.to_string()))?;
    fs::write(&kept, text).map_err(Error::io(&kept, "write"))
}

/// The answer that is kept in a folder; none where it was about other dependencies, or where sources
/// have gone since.
pub fn read(folder: &Path, dependencies: &str) -> Option<Project> {
    let text = fs::read_to_string(folder.join(FILE)).ok()?;
    let kept: Kept = serde_json::from_str(&text).ok()?;
    (kept.dependencies == dependencies && is_whole(&kept.project)).then_some(kept.project)
}

/// Whether it has the standard library and crates to name, all with their sources.
fn is_whole(project: &Project) -> bool {
    !project.named.is_empty()
        && project.crates.iter().any(|krate| krate.standard && krate.name == "std")
        && project.crates.iter().all(|krate| krate.root.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rust_analyzer::project::Crate;

    #[test]
    fn an_answer_is_read_back_while_it_is_true() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("lib.rs");
        fs::write(&root, "").unwrap();
        let krate = |name: &str, standard| Crate {
            name: name.into(),
            version: None,
            root: root.clone(),
            edition: "2024".into(),
            features: vec!["a".into()],
            environment: vec![],
            dependencies: vec![],
            standard,
            outlined: true,
        };
        let write = |crates: Vec<Crate>| {
            let named = vec![("qrnn".to_owned(), 1)];
            let cfg = vec![("unix".to_owned(), None)];
            let project = Project { crates, named, cfg, ..Project::default() };
            let kept = Kept { dependencies: "qrnn = 1".into(), project };
            let text = serde_json::to_string(&kept).unwrap();
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
