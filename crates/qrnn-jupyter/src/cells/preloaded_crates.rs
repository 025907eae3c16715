//! A `:dep` line that asks for a crate which every cell has already.
//!
//! Notebooks have such a line for the stock kernel. Here nothing is built for it; where it asks for
//! something else than what is preloaded, the cell says so.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::toolchain::preload::Preload;

/// Crates that every cell has.
const PRELOADED: [&str; 2] = ["qrnn", "tch"];

/// What stands behind `:dep`.
#[derive(Debug, PartialEq)]
struct Asked {
    name: String,
    /// As in a manifest.
    how: Table,
}

/// Whether the line asks for a preloaded crate.
pub fn is_preloaded(line: &str) -> bool {
    asked(line).is_some()
}

/// What to tell of the lines of a cell that ask for another version of a preloaded crate.
pub fn notes(code: &str, library: &Path) -> Vec<String> {
    let asked: Vec<Asked> = code.lines().filter_map(asked).collect();
    if asked.is_empty() {
        return vec![];
    }
    let preload = Preload::of_library(library);
    let lock = preload.lock().and_then(|lock| std::fs::read_to_string(lock).ok());
    let lock: Table = lock.and_then(|text| toml::from_str(&text).ok()).unwrap_or_default();
    let sources = preload.sources().ok();
    asked.iter().flat_map(|asked| asked.differences(&lock, sources.as_deref())).collect()
}

/// None for other lines and for other crates.
fn asked(line: &str) -> Option<Asked> {
    let rest = line.trim().strip_prefix(":dep")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim();
    if rest.starts_with(['.', '/']) {
        // evcxr's short form: a folder.
        let manifest = std::fs::read_to_string(Path::new(rest).join("Cargo.toml")).ok()?;
        let manifest: Table = toml::from_str(&manifest).ok()?;
        let name = manifest.get("package")?.get("name")?.as_str()?.to_owned();
        let how = Table::from_iter([("path".to_owned(), rest.into())]);
        return PRELOADED.contains(&name.as_str()).then_some(Asked { name, how });
    }
    let name = rest.split(['=', ' ', '\t']).next()?.trim_matches('"');
    let how = rest.split_once('=').map_or("\"*\"", |(_, how)| how.trim());
    let how: Table = toml::from_str(&format!("how = {how}")).ok()?;
    let how = match how.get("how")? {
        Value::Table(table) => table.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    // Another crate by that name is not what is preloaded.
    let package = how.get("package").map_or(Some(name), Value::as_str)?;
    (PRELOADED.contains(&name) && package == name).then(|| Asked { name: name.into(), how })
}

impl Asked {
    fn text(&self, key: &str) -> Option<&str> {
        self.how.get(key)?.as_str()
    }

    fn differences(&self, lock: &Table, sources: Option<&Path>) -> Vec<String> {
        let name = &self.name;
        let mut all = vec![];
        let mut say = |what: String| all.push(format!("note: `{name}` is preloaded{what}\n"));
        if let Some(path) = self.text("path") {
            let own = sources.filter(|_| name == "qrnn").and_then(|own| own.canonicalize().ok());
            let path = PathBuf::from(path);
            let there = path.canonicalize().ok();
            if own.is_none() || there != own {
                let from = own.map(|own| format!(" from {}", own.display())).unwrap_or_default();
                say(format!("{from}; {} is not used", path.display()));
            }
        }
        if let Some(git) = self.text("git") {
            say(format!("; {git} is not used"));
        }
        if let (Some(asked), Some(there)) = (self.text("version"), version(lock, name))
            && !fits(asked, there)
        {
            say(format!(" in version {there}; {asked} is not used"));
        }
        let features = self.how.get("features").and_then(Value::as_array).into_iter().flatten();
        let known = features_of(name, sources);
        for feature in features.filter_map(Value::as_str).filter(|f| !known.contains(&(*f).into()))
        {
            say(format!(" without its feature `{feature}`"));
        }
        all
    }
}

/// Of the crate as it was preloaded.
fn version<'a>(lock: &'a Table, name: &str) -> Option<&'a str> {
    let packages = lock.get("package")?.as_array()?;
    let package = packages.iter().find(|p| p.get("name").and_then(Value::as_str) == Some(name));
    package?.get("version")?.as_str()
}

/// Whether a requirement as cells have it is met; those with a comparison in it are taken for met.
fn fits(asked: &str, there: &str) -> bool {
    let asked = asked.trim().trim_start_matches(['^', '=', '~']).trim();
    if asked.contains(['<', '>', ',', '*']) || asked.is_empty() {
        return true;
    }
    let there: Vec<&str> = there.split('.').collect();
    asked.split('.').zip(there).all(|(asked, there)| asked == there)
}

/// The features that the crate was preloaded with: those of its default.
fn features_of(name: &str, sources: Option<&Path>) -> Vec<String> {
    let mut known = vec!["default".to_owned()];
    let manifest = sources.filter(|_| name == "qrnn").map(|sources| sources.join("Cargo.toml"));
    let manifest = manifest.and_then(|path| std::fs::read_to_string(path).ok());
    let manifest: Option<Table> = manifest.and_then(|text| toml::from_str(&text).ok());
    let features = manifest.as_ref().and_then(|m| m.get("features")).and_then(Value::as_table);
    let mut at = 0;
    while at < known.len() {
        let below = features.and_then(|all| all.get(&known[at])).and_then(Value::as_array);
        let below = below.into_iter().flatten().filter_map(Value::as_str);
        let new: Vec<String> =
            below.filter(|f| !known.contains(&(*f).into())).map(str::to_owned).collect();
        known.extend(new);
        at += 1;
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_the_stock_kernel_are_known_in_every_spelling() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        for line in [
            ":dep qrnn",
            ":dep qrnn = { path = \"..\" }",
            "  :dep   qrnn={path=\"/a/place\", features = []}",
            ":dep tch = \"0.24\"",
            ":dep \"tch\" = { version = \"0.24\", default-features = false }",
            &format!(":dep {root}"),
        ] {
            assert!(is_preloaded(line), "{line}");
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
            assert!(!is_preloaded(line), "{line}");
        }
    }

    #[test]
    fn what_is_not_what_was_asked_for_is_said() {
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
        let said = |line: &str| asked(line).unwrap().differences(&lock, Some(&sources)).concat();
        let path =
            |place: &Path| format!(":dep qrnn = {{ path = {:?} }}", place.display().to_string());
        assert_eq!(said(&path(&sources.join("../sources"))), "");
        assert!(said(&path(&other)).contains(&format!("{} is not used", other.display())));
        assert_eq!(said(":dep tch = \"0.24\""), "");
        assert_eq!(said(":dep tch"), "");
        assert!(said(":dep tch = \"0.20\"").contains("in version 0.24.0; 0.20 is not used"));
        assert!(said(":dep tch = { git = \"https://x/y\" }").contains("https://x/y is not used"));
        assert_eq!(said(":dep qrnn = { version = \"*\", features = [\"fast\", \"deep\"] }"), "");
        let slow = said(":dep qrnn = { version = \"*\", features = [\"fast\", \"slow\"] }");
        assert_eq!(slow, "note: `qrnn` is preloaded without its feature `slow`\n");
    }
}
