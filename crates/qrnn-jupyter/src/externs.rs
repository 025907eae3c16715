//! The crates that a cell is compiled against, and whether they are still those of earlier cells.
//!
//! A dependency is built anew where a later `:dep` line asks for another version or for more
//! features. Values of the earlier build then have other types, and a type of the notebook's own that
//! holds them another layout under the same identity (`compiler.rs`). So a cell that would bring such
//! a build in is refused before it is compiled, while a variable holds values of the earlier one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use serde_json::{Value, json};

/// What the refusal's message begins with; the crate's name follows.
pub const REBUILT: &str = "qrnn-jupyter-rebuilt ";

/// The crates of the last cell that was compiled, in evcxr's folder.
const KNOWN: &str = "externs.json";
/// The names that the types of the variables lead to, a line each, in evcxr's folder.
const HELD: &str = "held";
/// In the place of a name: every crate.
pub const ALL: &str = "*";

/// The direct dependencies, by name: the file, whose name tells one build from another.
#[derive(Debug, PartialEq)]
pub struct Externs(BTreeMap<String, String>);

impl Externs {
    /// As rustc's arguments name them.
    pub fn of(args: &[OsString]) -> Self {
        let pairs = args.windows(2).filter(|pair| pair[0] == "--extern");
        let named = pairs.filter_map(|pair| {
            let text = pair[1].to_str()?;
            let (name, path) = text.split_once('=')?;
            // Options of rustc's own stand before the name: `priv:rand=..`.
            let name = name.rsplit(':').next()?;
            // With its ending left out: a check takes the metadata of what a build links.
            let file = Path::new(path).file_stem()?.to_str()?;
            Some((name.to_owned(), file.to_owned()))
        });
        Self(named.collect())
    }

    /// rustc's message about the first crate that is held and was built anew.
    pub fn refusal(&self, folder: &Path) -> Option<Value> {
        let known = std::fs::read_to_string(folder.join(KNOWN)).ok()?;
        let known: BTreeMap<String, String> = serde_json::from_str(&known).ok()?;
        let held = std::fs::read_to_string(folder.join(HELD)).unwrap_or_default();
        let held: BTreeSet<&str> = held.lines().collect();
        let is_held = |name: &str| held.contains(name) || held.contains(ALL);
        let is_new = |name: &str, file: &str| known.get(name).is_some_and(|old| old != file);
        let mut named = self.0.iter();
        let (name, _) = named.find(|(name, file)| is_held(name) && is_new(name, file))?;
        let message = format!("{REBUILT}{name}");
        Some(json!({
            "$message_type": "diagnostic", "level": "error", "code": null, "spans": [],
            "children": [], "rendered": format!("error: {message}\n"), "message": message,
        }))
    }

    /// These are the crates that variables may hold values of from now on.
    pub fn remember(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::write(folder.join(KNOWN), serde_json::to_string(&self.0)?)
    }
}

/// Notes which names the types of the variables lead to.
pub fn hold<'a>(folder: &Path, names: impl Iterator<Item = &'a String>) -> std::io::Result<()> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    std::fs::write(folder.join(HELD), names.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn externs(pairs: &[(&str, &str)]) -> Externs {
        let args = pairs
            .iter()
            .flat_map(|(name, file)| ["--extern".to_owned(), format!("{name}=/deps/{file}")]);
        Externs::of(&args.map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_held_crate_that_is_built_anew_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let old = externs(&[("rand", "librand-1.rlib"), ("either", "libeither-1.rlib")]);
        assert_eq!(old.refusal(folder), None);
        old.remember(folder).unwrap();
        hold(folder, ["rand".to_owned(), "Exp".to_owned()].iter()).unwrap();
        let more = externs(&[("rand", "librand-1.rmeta"), ("serde", "libserde-1.rlib")]);
        assert_eq!(more.refusal(folder), None);
        let other = externs(&[("rand", "librand-1.rlib"), ("either", "libeither-2.rlib")]);
        assert_eq!(other.refusal(folder), None);
        let held = externs(&[("priv:rand", "librand-2.rlib")]);
        assert_eq!(held.refusal(folder).unwrap()["message"], "qrnn-jupyter-rebuilt rand");
    }
}
