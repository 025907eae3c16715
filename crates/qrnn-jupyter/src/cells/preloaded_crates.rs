//! Lines that ask for a crate that is preloaded: `:dep qrnn = { path = ".." }`, `extern crate tch;`.
//!
//! Notebooks have them for the stock evcxr kernel. They are removed here; if a line asks for
//! something else than the preloaded build, the cell prints a note.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use cargo_metadata::semver::{Version, VersionReq};
use toml::{Table, Value};

use crate::cells::commands::blank;
use crate::toolchain::preload::Preload;

/// Crates that every cell has.
const PRELOADED: [&str; 2] = ["qrnn", "tch"];

/// The code with these lines blanked out.
pub fn without_preloaded(code: &str) -> String {
    let lines = code.split_inclusive('\n').map(|line| {
        let text = line.trim();
        let extern_crate =
            text.strip_prefix("extern crate ").and_then(|rest| rest.strip_suffix(';'));
        let is_extern = extern_crate.is_some_and(|name| PRELOADED.contains(&name.trim()));
        if is_extern || requested(text).is_some() {
            Cow::Owned(blank(line))
        } else {
            Cow::Borrowed(line)
        }
    });
    lines.collect()
}

/// Notes about lines that ask for another build than the preloaded one.
pub fn notes(code: &str, library: &Path) -> Vec<String> {
    let requests: Vec<Request> = code.lines().filter_map(requested).collect();
    if requests.is_empty() {
        return vec![];
    }
    let preload = Preload::of_library(library);
    let lock = preload.lock().and_then(|lock| std::fs::read_to_string(lock).ok());
    let lock: Table = lock.and_then(|text| toml::from_str(&text).ok()).unwrap_or_default();
    let sources = preload.sources().ok();
    requests.iter().flat_map(|request| request.differences(&lock, sources.as_deref())).collect()
}

/// A `:dep` line for a preloaded crate.
#[derive(Debug, PartialEq)]
struct Request {
    name: String,
    /// The dependency's keys, as in a manifest.
    keys: Table,
}

fn requested(line: &str) -> Option<Request> {
    let rest = line.trim().strip_prefix(":dep")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim();
    if rest.starts_with(['.', '/']) {
        // evcxr's short form for a path dependency.
        let manifest = std::fs::read_to_string(Path::new(rest).join("Cargo.toml")).ok()?;
        let manifest: Table = toml::from_str(&manifest).ok()?;
        let name = manifest.get("package")?.get("name")?.as_str()?.to_owned();
        let keys = Table::from_iter([("path".to_owned(), rest.into())]);
        return PRELOADED.contains(&name.as_str()).then_some(Request { name, keys });
    }
    let name = rest.split(['=', ' ', '\t']).next()?.trim_matches('"');
    let value = rest.split_once('=').map_or("\"*\"", |(_, value)| value.trim());
    let parsed: Table = toml::from_str(&format!("value = {value}")).ok()?;
    let keys = match parsed.get("value")? {
        Value::Table(table) => table.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    // A renamed crate is another crate.
    let package = keys.get("package").map_or(Some(name), Value::as_str)?;
    (PRELOADED.contains(&name) && package == name).then(|| Request { name: name.into(), keys })
}

impl Request {
    fn text(&self, key: &str) -> Option<&str> {
        self.keys.get(key)?.as_str()
    }

    fn differences(&self, lock: &Table, sources: Option<&Path>) -> Vec<String> {
        let name = &self.name;
        let mut notes = vec![];
        let mut note = |what: String| notes.push(format!("note: `{name}` is preloaded{what}\n"));
        if let Some(path) = self.text("path") {
            let own = sources.filter(|_| name == "qrnn").and_then(|own| own.canonicalize().ok());
            let path = PathBuf::from(path);
            if own.is_none() || path.canonicalize().ok() != own {
                let from = own.map(|own| format!(" from {}", own.display())).unwrap_or_default();
                note(format!("{from}; {} is not used", path.display()));
            }
        }
        if let Some(git) = self.text("git") {
            note(format!("; {git} is not used"));
        }
        if let (Some(requested), Some(locked)) = (self.text("version"), version(lock, name))
            && !matches(requested, locked)
        {
            note(format!(" in version {locked}; {requested} is not used"));
        }
        let features = self.keys.get("features").and_then(Value::as_array).into_iter().flatten();
        let enabled = enabled_features(name, sources);
        for feature in features.filter_map(Value::as_str) {
            if !enabled.iter().any(|known| known == feature) {
                note(format!(" without its feature `{feature}`"));
            }
        }
        notes
    }
}

/// The version in Cargo.lock.
fn version<'a>(lock: &'a Table, name: &str) -> Option<&'a str> {
    let packages = lock.get("package")?.as_array()?;
    let package = packages.iter().find(|p| p.get("name").and_then(Value::as_str) == Some(name));
    package?.get("version")?.as_str()
}

/// Whether a version meets a requirement, as far as both can be read.
fn matches(requirement: &str, version: &str) -> bool {
    let requirement = VersionReq::parse(requirement).unwrap_or(VersionReq::STAR);
    Version::parse(version).map_or(true, |version| requirement.matches(&version))
}

/// The features of the preloaded crate: the default ones.
fn enabled_features(name: &str, sources: Option<&Path>) -> Vec<String> {
    let mut enabled = vec!["default".to_owned()];
    let manifest = sources.filter(|_| name == "qrnn").map(|sources| sources.join("Cargo.toml"));
    let manifest = manifest.and_then(|path| std::fs::read_to_string(path).ok());
    let manifest: Option<Table> = manifest.and_then(|text| toml::from_str(&text).ok());
    let features = manifest.as_ref().and_then(|m| m.get("features")).and_then(Value::as_table);
    let mut next = 0;
    while next < enabled.len() {
        let implied = features.and_then(|all| all.get(&enabled[next])).and_then(Value::as_array);
        for feature in implied.into_iter().flatten().filter_map(Value::as_str) {
            if !enabled.iter().any(|known| known == feature) {
                enabled.push(feature.to_owned());
            }
        }
        next += 1;
    }
    enabled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_preloaded_crates_are_blanked() {
        let code =
            ":dep qrnn = { path = \"..\" }\n:dep rand = \"0.9\"\nextern crate tch;\nlet a = 1;";
        let left = without_preloaded(code);
        assert_eq!(left.len(), code.len());
        assert_eq!(
            left.lines().map(str::trim).collect::<Vec<_>>(),
            ["", ":dep rand = \"0.9\"", "", "let a = 1;"]
        );
        assert_eq!(without_preloaded(":dep qrnn-tools"), ":dep qrnn-tools");
    }

    #[test]
    fn every_spelling_is_recognized() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        for line in [
            ":dep qrnn",
            ":dep qrnn = { path = \"..\" }",
            "  :dep   qrnn={path=\"/a/place\", features = []}",
            ":dep tch = \"0.24\"",
            ":dep \"tch\" = { version = \"0.24\", default-features = false }",
            &format!(":dep {root}"),
        ] {
            assert!(requested(line).is_some(), "{line}");
        }
        for line in [
            ":dep qrnn-tools",
            ":dep rand = { path = \"qrnn\" }",
            ":dep qrnn = { package = \"other\", path = \"..\" }",
            ":dep qrnn = { path = \"..\"",
            ":deps qrnn",
            ":dep ./no/such/folder",
            "qrnn",
        ] {
            assert!(requested(line).is_none(), "{line}");
        }
    }

    #[test]
    fn differences_are_noted() {
        let folder = tempfile::tempdir().unwrap();
        let (sources, other) = (folder.path().join("sources"), folder.path().join("other"));
        for place in [&sources, &other] {
            std::fs::create_dir(place).unwrap();
        }
        let manifest =
            "[features]\ndefault = [\"fast\"]\nfast = [\"deep\"]\ndeep = []\nslow = []\n";
        std::fs::write(sources.join("Cargo.toml"), manifest).unwrap();
        let lock = "[[package]]\nname = \"tch\"\nversion = \"0.24.0\"\n";
        let lock = toml::from_str(lock).unwrap();
        let notes =
            |line: &str| requested(line).unwrap().differences(&lock, Some(&sources)).concat();
        let path =
            |place: &Path| format!(":dep qrnn = {{ path = {:?} }}", place.display().to_string());
        assert_eq!(notes(&path(&sources.join("../sources"))), "");
        assert!(notes(&path(&other)).contains(&format!("{} is not used", other.display())));
        assert_eq!(notes(":dep tch = \"0.24\""), "");
        assert_eq!(notes(":dep tch"), "");
        assert!(notes(":dep tch = \"0.20\"").contains("in version 0.24.0; 0.20 is not used"));
        assert!(notes(":dep tch = { git = \"https://x/y\" }").contains("https://x/y is not used"));
        assert_eq!(notes(":dep qrnn = { version = \"*\", features = [\"fast\", \"deep\"] }"), "");
        let slow = notes(":dep qrnn = { version = \"*\", features = [\"fast\", \"slow\"] }");
        assert_eq!(slow, "note: `qrnn` is preloaded without its feature `slow`\n");
    }
}
