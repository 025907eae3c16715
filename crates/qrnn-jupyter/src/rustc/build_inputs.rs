//! What a cell is compiled from beside its own text, and whether it is still that of earlier cells.
//!
//! A dependency is built anew where a later `:dep` line asks for another version or for more
//! features, and where the sources of a path dependency have changed; files that the notebook's own
//! items read (`mod m;`, `include!`) change as well. Values of the earlier build then have other types,
//! and a type of the notebook's own that holds them another layout under the same identity
//! (`compiler.rs`). So a cell that would bring such a change in is refused before it runs, while a
//! variable holds values of the earlier build.
//!
//! The compiler step compares with what the last cell *that ran* was compiled from; the kernel says
//! which cell that was ([`accept`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::notebook::items::FILES;
use crate::rustc::dep_info::ReadFiles;
use crate::rustc::fingerprint::Fingerprint;

/// What the refusal's message begins with; the cause follows.
const CHANGED: &str = "qrnn-jupyter-changed ";

/// What the last cell that ran was compiled from, in evcxr's folder.
const KNOWN: &str = "externs.json";
/// What the cell that was compiled last is from; it becomes the known one when the cell has run.
const NEXT: &str = "externs.next";
/// The names that the types of the variables lead to, a line each, in evcxr's folder.
const HELD: &str = "held";
/// In the place of a name: every crate.
pub const ALL: &str = "*";

/// What is no longer what earlier cells were compiled from.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    Crate(String),
    File(String),
    /// Of the environment, as `env!` reads it.
    Variable(String),
}

impl Cause {
    /// None for other messages than [`Externs::refusal`]'s.
    pub fn of(message: &str) -> Option<Self> {
        let (kind, name) = message.strip_prefix(CHANGED)?.split_once(' ')?;
        let make = match kind {
            "crate" => Self::Crate,
            "file" => Self::File,
            _ => Self::Variable,
        };
        Some(make(name.to_owned()))
    }

    fn message(&self) -> String {
        let (kind, name) = match self {
            Self::Crate(name) => ("crate", name),
            Self::File(name) => ("file", name),
            Self::Variable(name) => ("variable", name),
        };
        format!("{CHANGED}{kind} {name}")
    }

    /// Whether a type that leads to these names is made of it.
    pub fn is_in(&self, reached: &BTreeSet<String>) -> bool {
        match self {
            Self::Crate(name) => reached.contains(name) || reached.contains(ALL),
            Self::File(_) | Self::Variable(_) => reached.contains(FILES),
        }
    }
}

/// A direct dependency as it was built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Build {
    /// The file's name tells one version and one set of features from another.
    stem: String,
    /// Of its metadata: cargo keeps the name where nothing but the sources has changed.
    metadata: Option<Fingerprint>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Sources {
    crates: BTreeMap<String, Build>,
    files: BTreeMap<String, Option<Fingerprint>>,
    variables: BTreeMap<String, Option<String>>,
}

impl Sources {
    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// What is otherwise now.
    fn differences<'a>(&'a self, now: &'a Self) -> impl Iterator<Item = Cause> + 'a {
        let crates = changed(&self.crates, &now.crates).map(Cause::Crate);
        let files = changed(&self.files, &now.files).map(Cause::File);
        crates.chain(files).chain(changed(&self.variables, &now.variables).map(Cause::Variable))
    }
}

fn changed<'a, T: PartialEq>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = String> + 'a {
    let others = new.iter().filter(|(name, new)| old.get(*name).is_some_and(|old| old != *new));
    others.map(|(name, _)| name.clone())
}

/// What a cell is about to be compiled from.
#[derive(Debug)]
pub struct Externs {
    start: SystemTime,
    known: Sources,
    now: Sources,
    held: BTreeSet<String>,
}

impl Externs {
    /// The crates as rustc's arguments name them, and the files that cells have read so far.
    pub fn of(args: &[OsString], folder: &Path) -> Self {
        let start = SystemTime::now();
        let known = Sources::read(&folder.join(KNOWN)).unwrap_or_default();
        let mut now = known.clone();
        let pairs = args.windows(2).filter(|pair| pair[0] == "--extern");
        let named = pairs.filter_map(|pair| {
            let (name, path) = pair[1].to_str()?.split_once('=')?;
            // Options of rustc's own stand before the name: `priv:rand=..`.
            Some((name.rsplit(':').next()?, Path::new(path)))
        });
        for (name, path) in named {
            let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            let old = known.crates.get(name).filter(|old| old.stem == stem);
            let old = old.and_then(|old| old.metadata.as_ref());
            // A library of one kind only has none beside it.
            let metadata = Fingerprint::of(&path.with_extension("rmeta"), old);
            let metadata = metadata.or_else(|| Fingerprint::of(path, old));
            now.crates.insert(name.to_owned(), Build { stem: stem.to_owned(), metadata });
        }
        let read = ReadFiles {
            files: known.files.keys().map(PathBuf::from).collect(),
            variables: known.variables.keys().cloned().collect(),
        };
        let held = std::fs::read_to_string(folder.join(HELD)).unwrap_or_default();
        let held = held.lines().map(str::to_owned).collect();
        let mut externs = Self { start, known, now, held };
        externs.look_at(&read);
        externs
    }

    /// Takes note of what the cell's items have read.
    pub fn look_at(&mut self, read: &ReadFiles) {
        let files = read.files.iter().filter_map(|path| Some((path, path.to_str()?)));
        self.now.files = files
            .map(|(path, name)| {
                let known = self.known.files.get(name);
                let now = Fingerprint::of(path, known.and_then(Option::as_ref));
                let now = if known == Some(&now) {
                    now
                } else {
                    now.map(|now| now.read_since(self.start))
                };
                (name.to_owned(), now)
            })
            .collect();
        let variables = read.variables.iter();
        self.now.variables =
            variables.map(|name| (name.clone(), std::env::var(name).ok())).collect();
    }

    /// rustc's message about the first thing that is held and is no longer what it was.
    pub fn refusal(&self) -> Option<Value> {
        let cause = self.known.differences(&self.now).find(|cause| cause.is_in(&self.held))?;
        let message = cause.message();
        Some(json!({
            "$message_type": "diagnostic", "level": "error", "code": null, "spans": [],
            "children": [], "rendered": format!("error: {message}\n"), "message": message,
        }))
    }

    /// Variables may hold values of this from now on, if the kernel runs the cell.
    ///
    /// # Errors
    /// Where the session's folder cannot be written.
    pub fn remember(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::write(folder.join(NEXT), serde_json::to_vec(&self.now)?)
    }
}

/// Notes which names the types of the variables lead to, before a cell is compiled.
///
/// # Errors
/// Where the session's folder cannot be written.
pub fn hold<'a>(folder: &Path, names: impl Iterator<Item = &'a String>) -> std::io::Result<()> {
    let _ = std::fs::remove_file(folder.join(NEXT));
    let names: Vec<&str> = names.map(String::as_str).collect();
    std::fs::write(folder.join(HELD), names.join("\n"))
}

/// What is otherwise in the cell that was compiled last than in those before.
pub fn differences(folder: &Path) -> Vec<Cause> {
    let known = Sources::read(&folder.join(KNOWN)).unwrap_or_default();
    let next = Sources::read(&folder.join(NEXT)).unwrap_or_default();
    known.differences(&next).collect()
}

/// The cell that was compiled last has run.
pub fn accept(folder: &Path) {
    // There is none where nothing was compiled.
    let _ = std::fs::rename(folder.join(NEXT), folder.join(KNOWN));
}

/// The crates that the notebook has added so far.
pub fn crates(folder: &Path) -> BTreeSet<String> {
    let known = Sources::read(&folder.join(KNOWN)).unwrap_or_default();
    known.crates.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn externs(pairs: &[(&str, &str)], folder: &Path) -> Externs {
        let args = pairs.iter().flat_map(|(name, file)| {
            ["--extern".to_owned(), format!("{name}={}", folder.join(file).display())]
        });
        Externs::of(&args.map(OsString::from).collect::<Vec<_>>(), folder)
    }

    fn run(externs: &Externs, folder: &Path) {
        externs.remember(folder).unwrap();
        accept(folder);
    }

    fn cause(externs: &Externs) -> Option<Cause> {
        Cause::of(externs.refusal()?["message"].as_str().unwrap())
    }

    #[test]
    fn a_held_crate_that_is_built_anew_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let old = [("rand", "librand-1.rlib"), ("either", "libeither-1.rlib")];
        let old = externs(&old, folder);
        assert_eq!(cause(&old), None);
        run(&old, folder);
        hold(folder, ["rand".to_owned(), "Exp".to_owned()].iter()).unwrap();
        let more = [("rand", "librand-1.rmeta"), ("serde", "libserde-1.rlib")];
        assert_eq!(cause(&externs(&more, folder)), None);
        let other = [("rand", "librand-1.rlib"), ("either", "libeither-2.rlib")];
        assert_eq!(cause(&externs(&other, folder)), None);
        let held = externs(&[("priv:rand", "librand-2.rlib")], folder);
        assert_eq!(cause(&held), Some(Cause::Crate("rand".into())));
        // A cell that was compiled and did not run changes nothing.
        held.remember(folder).unwrap();
        assert_eq!(differences(folder), [Cause::Crate("rand".into())]);
        hold(folder, ["rand".to_owned()].iter()).unwrap();
        assert!(externs(&[("rand", "librand-2.rlib")], folder).refusal().is_some());
        assert_eq!(crates(folder).into_iter().collect::<Vec<_>>(), ["either", "rand"]);
    }

    #[test]
    fn a_crate_of_the_same_name_is_told_by_its_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("libown-1.rmeta", "one");
        write("libown-1.rlib", "one");
        hold(folder, ["own".to_owned()].iter()).unwrap();
        let named = [("own", "libown-1.rlib")];
        run(&externs(&named, folder), folder);
        write("libown-1.rmeta", "one");
        write("libown-1.rlib", "two");
        assert_eq!(cause(&externs(&named, folder)), None);
        write("libown-1.rmeta", "two");
        assert_eq!(cause(&externs(&named, folder)), Some(Cause::Crate("own".into())));
        hold(folder, ["other".to_owned()].iter()).unwrap();
        assert_eq!(cause(&externs(&named, folder)), None);
        hold(folder, [ALL.to_owned()].iter()).unwrap();
        assert!(cause(&externs(&named, folder)).is_some());
        // A library without metadata is looked at itself.
        std::fs::remove_file(folder.join("libown-1.rmeta")).unwrap();
        run(&externs(&named, folder), folder);
        write("libown-1.rlib", "three");
        assert!(cause(&externs(&named, folder)).is_some());
    }

    #[test]
    fn files_that_items_read_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let path = folder.join("m.rs");
        std::fs::write(&path, "one").unwrap();
        hold(folder, [FILES.to_owned()].iter()).unwrap();
        let read = ReadFiles { files: vec![path.clone()], variables: vec![] };
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut first = externs(&[], folder);
        first.look_at(&read);
        assert_eq!(cause(&first), None);
        run(&first, folder);
        assert_eq!(cause(&externs(&[], folder)), None);
        std::fs::write(&path, "two").unwrap();
        let name = path.display().to_string();
        assert_eq!(cause(&externs(&[], folder)), Some(Cause::File(name.clone())));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(cause(&externs(&[], folder)), Some(Cause::File(name)));
        hold(folder, ["Vec".to_owned()].iter()).unwrap();
        assert_eq!(cause(&externs(&[], folder)), None);
    }
}
