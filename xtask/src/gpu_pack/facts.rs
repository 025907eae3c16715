//! What a pack was built from, for the table of figures.

use std::path::Path;
use std::process::Command;

use serde_json::json;

/// The facts as JSON; null where unknown, for instance without git.
pub fn text(root: &Path) -> String {
    let changes = said(root, "git", &["status", "--porcelain"]);
    let facts = json!({
        "commit": said(root, "git", &["rev-parse", "HEAD"]),
        "changed": changes.map(|changes| !changes.is_empty()),
        "built": said(root, "date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "rustc": said(root, "rustc", &["--version"]),
        "torch": crate::setup::pins::VERSION,
    });
    format!("{facts:#}\n")
}

/// The output of a command in `folder`; `None` where it fails.
fn said(folder: &Path, program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(folder).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_without_git_has_no_commit_and_all_else() {
        let folder = tempfile::tempdir().unwrap();
        // Git would look in the folders above as well.
        std::fs::write(folder.path().join(".git"), "not a repository").unwrap();
        let facts: serde_json::Value = serde_json::from_str(&text(folder.path())).unwrap();
        assert!(facts["commit"].is_null() && facts["changed"].is_null(), "{facts}");
        assert!(facts["rustc"].as_str().unwrap().starts_with("rustc "), "{facts}");
        assert_eq!(facts["built"].as_str().unwrap().len(), "2026-01-01T00:00:00Z".len());
    }

    #[test]
    fn a_file_that_git_does_not_know_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        said(folder.path(), "git", &["init", "--quiet"]).unwrap();
        let changed = || -> serde_json::Value {
            serde_json::from_str::<serde_json::Value>(&text(folder.path())).unwrap()["changed"]
                .take()
        };
        assert_eq!(changed(), false);
        std::fs::write(folder.path().join("new"), "").unwrap();
        assert_eq!(changed(), true);
    }
}
