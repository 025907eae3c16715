//! What a cell is compiled from besides its own text, and whether that changed since earlier cells.
//!
//! A dependency is rebuilt if a later `:dep` line asks for another version or more features, or if
//! the sources of a path dependency changed; files that items read (`mod m;`, `include!`) change
//! too. Values of the earlier build then have other types, and a type of the notebook that contains
//! them has another layout under the same identity ([`wrapper`](crate::rustc::wrapper)). So the
//! wrapper refuses a cell with such a change while a variable holds values of the earlier build.
//!
//! It compares with the last cell *that ran*; the kernel records which one that was ([`accept`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::json_file;
use crate::notebook::marks::{EVERY_CRATE, FILES};
use crate::rustc::dep_info::DepInfo;
use crate::rustc::fingerprint::Fingerprint;

/// The start of the refusal's message; the change follows.
const CHANGED: &str = "qrnn-jupyter-changed ";

/// File in the workdir: the inputs of the last cell that ran.
const KNOWN: &str = "externs.json";
/// The inputs of the last cell that was compiled.
const NEXT: &str = "externs.next";
/// The names that the variables' types depend on, one a line.
const NEEDED: &str = "held";

/// An input that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change {
    Crate(String),
    File(String),
    /// Of the environment, read by `env!`.
    Variable(String),
}

impl Change {
    /// Reads the message of [`BuildInputs::refusal`].
    pub fn parse(message: &str) -> Option<Self> {
        serde_json::from_str(message.strip_prefix(CHANGED)?).ok()
    }

    /// Whether a type with these dependencies may be affected.
    pub fn affects(&self, dependencies: &BTreeSet<String>) -> bool {
        match self {
            Self::Crate(name) => dependencies.contains(name) || dependencies.contains(EVERY_CRATE),
            Self::File(_) | Self::Variable(_) => dependencies.contains(FILES),
        }
    }
}

/// A build of a direct dependency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Build {
    /// The file name, which differs by version and features.
    stem: String,
    /// Of its metadata: after a change of sources, cargo keeps the file name.
    metadata: Option<Fingerprint>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Inputs {
    crates: BTreeMap<String, Build>,
    files: BTreeMap<String, Option<Fingerprint>>,
    variables: BTreeMap<String, Option<String>>,
}

impl Inputs {
    fn read(workdir: &Path, name: &str) -> Self {
        json_file::read(&workdir.join(name))
    }

    fn changes<'a>(&'a self, now: &'a Self) -> impl Iterator<Item = Change> + 'a {
        let crates = changed(&self.crates, &now.crates).map(Change::Crate);
        let files = changed(&self.files, &now.files).map(Change::File);
        crates.chain(files).chain(changed(&self.variables, &now.variables).map(Change::Variable))
    }
}

fn changed<'a, T: PartialEq>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = String> + 'a {
    let changed = new.iter().filter(|(name, new)| old.get(*name).is_some_and(|old| old != *new));
    changed.map(|(name, _)| name.clone())
}

/// The inputs of the cell that is being compiled, and those of the last cell that ran.
pub struct BuildInputs {
    start: SystemTime,
    known: Inputs,
    now: Inputs,
    /// What the variables' types depend on.
    needed: BTreeSet<String>,
}

impl BuildInputs {
    /// The crates in rustc's arguments, and the files that earlier cells have read.
    pub fn of(args: &[OsString], workdir: &Path) -> Self {
        let start = SystemTime::now();
        let known = Inputs::read(workdir, KNOWN);
        let mut now = known.clone();
        let pairs = args.windows(2).filter(|pair| pair[0] == "--extern");
        let crates = pairs.filter_map(|pair| {
            let (name, path) = pair[1].to_str()?.split_once('=')?;
            // Options may come before the name: `priv:rand=..`.
            Some((name.rsplit(':').next()?, Path::new(path)))
        });
        for (name, path) in crates {
            let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            let old = known.crates.get(name).filter(|old| old.stem == stem);
            let old = old.and_then(|old| old.metadata.as_ref());
            let metadata = Fingerprint::of(&path.with_extension("rmeta"), old)
                .or_else(|| Fingerprint::of(path, old));
            now.crates.insert(name.to_owned(), Build { stem: stem.to_owned(), metadata });
        }
        let read = DepInfo {
            files: known.files.keys().map(PathBuf::from).collect(),
            variables: known.variables.keys().cloned().collect(),
        };
        let needed = std::fs::read_to_string(workdir.join(NEEDED)).unwrap_or_default();
        let needed = needed.lines().map(str::to_owned).collect();
        let mut inputs = Self { start, known, now, needed };
        inputs.read_again(&read);
        inputs
    }

    /// Reads the state of the files and variables that rustc has read.
    pub fn read_again(&mut self, read: &DepInfo) {
        let files = read.files.iter().filter_map(|path| Some((path, path.to_str()?)));
        let files = files.map(|(path, name)| {
            let known = self.known.files.get(name);
            let now = Fingerprint::of(path, known.and_then(Option::as_ref));
            let unchanged = known == Some(&now);
            let now = now.map(|now| if unchanged { now } else { now.read_since(self.start) });
            (name.to_owned(), now)
        });
        self.now.files = files.collect();
        let variables = read.variables.iter();
        self.now.variables =
            variables.map(|name| (name.clone(), std::env::var(name).ok())).collect();
    }

    /// An error in rustc's format about the first change that affects a variable.
    pub fn refusal(&self) -> Option<Value> {
        let change = self.known.changes(&self.now).find(|change| change.affects(&self.needed))?;
        let message = format!("{CHANGED}{}", json!(change));
        Some(json!({
            "$message_type": "diagnostic", "level": "error", "code": null, "spans": [],
            "children": [], "rendered": format!("error: {message}\n"), "message": message,
        }))
    }

    /// Writes the inputs for [`accept`].
    pub fn write(&self, workdir: &Path) -> std::io::Result<()> {
        std::fs::write(workdir.join(NEXT), serde_json::to_vec(&self.now)?)
    }
}

/// Before a cell is compiled: tells the wrapper what the variables' types depend on.
pub fn set_needed(workdir: &Path, names: &BTreeSet<String>) -> std::io::Result<()> {
    let _ = std::fs::remove_file(workdir.join(NEXT));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    std::fs::write(workdir.join(NEEDED), names.join("\n"))
}

/// What the last compiled cell changed.
pub fn changes(workdir: &Path) -> Vec<Change> {
    Inputs::read(workdir, KNOWN).changes(&Inputs::read(workdir, NEXT)).collect()
}

/// Records that the last compiled cell has run.
pub fn accept(workdir: &Path) {
    // The file is missing if nothing was compiled.
    let _ = std::fs::rename(workdir.join(NEXT), workdir.join(KNOWN));
}

/// The crates that the notebook has added.
pub fn crates(workdir: &Path) -> BTreeSet<String> {
    Inputs::read(workdir, KNOWN).crates.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(pairs: &[(&str, &str)], folder: &Path) -> BuildInputs {
        let args = pairs.iter().flat_map(|(name, file)| {
            ["--extern".to_owned(), format!("{name}={}", folder.join(file).display())]
        });
        BuildInputs::of(&args.map(OsString::from).collect::<Vec<_>>(), folder)
    }

    fn run(inputs: &BuildInputs, folder: &Path) {
        inputs.write(folder).unwrap();
        accept(folder);
    }

    fn change(inputs: &BuildInputs) -> Option<Change> {
        Change::parse(inputs.refusal()?["message"].as_str().unwrap())
    }

    #[test]
    fn a_needed_crate_that_is_rebuilt_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let old = [("rand", "librand-1.rlib"), ("either", "libeither-1.rlib")];
        let old = inputs(&old, folder);
        assert_eq!(change(&old), None);
        run(&old, folder);
        set_needed(folder, &["rand".to_owned(), "Exp".to_owned()].into()).unwrap();
        let more = [("rand", "librand-1.rmeta"), ("serde", "libserde-1.rlib")];
        assert_eq!(change(&inputs(&more, folder)), None);
        let other = [("rand", "librand-1.rlib"), ("either", "libeither-2.rlib")];
        assert_eq!(change(&inputs(&other, folder)), None);
        let needed = inputs(&[("priv:rand", "librand-2.rlib")], folder);
        assert_eq!(change(&needed), Some(Change::Crate("rand".into())));
        // A cell that was compiled but did not run changes nothing.
        needed.write(folder).unwrap();
        assert_eq!(changes(folder), [Change::Crate("rand".into())]);
        set_needed(folder, &["rand".to_owned()].into()).unwrap();
        assert!(inputs(&[("rand", "librand-2.rlib")], folder).refusal().is_some());
        assert_eq!(crates(folder).into_iter().collect::<Vec<_>>(), ["either", "rand"]);
    }

    #[test]
    fn a_rebuilt_crate_is_recognized_by_its_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("libown-1.rmeta", "one");
        write("libown-1.rlib", "one");
        set_needed(folder, &["own".to_owned()].into()).unwrap();
        let named = [("own", "libown-1.rlib")];
        run(&inputs(&named, folder), folder);
        write("libown-1.rmeta", "one");
        write("libown-1.rlib", "two");
        assert_eq!(change(&inputs(&named, folder)), None);
        write("libown-1.rmeta", "two");
        assert_eq!(change(&inputs(&named, folder)), Some(Change::Crate("own".into())));
        set_needed(folder, &["other".to_owned()].into()).unwrap();
        assert_eq!(change(&inputs(&named, folder)), None);
        set_needed(folder, &[EVERY_CRATE.to_owned()].into()).unwrap();
        assert!(change(&inputs(&named, folder)).is_some());
        // Without metadata, the library itself is compared.
        std::fs::remove_file(folder.join("libown-1.rmeta")).unwrap();
        run(&inputs(&named, folder), folder);
        write("libown-1.rlib", "three");
        assert!(change(&inputs(&named, folder)).is_some());
    }

    #[test]
    fn files_that_items_read_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let path = folder.join("m.rs");
        std::fs::write(&path, "one").unwrap();
        set_needed(folder, &[FILES.to_owned()].into()).unwrap();
        let read = DepInfo { files: vec![path.clone()], variables: vec![] };
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut first = inputs(&[], folder);
        first.read_again(&read);
        assert_eq!(change(&first), None);
        run(&first, folder);
        assert_eq!(change(&inputs(&[], folder)), None);
        std::fs::write(&path, "two").unwrap();
        let name = path.display().to_string();
        assert_eq!(change(&inputs(&[], folder)), Some(Change::File(name.clone())));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(change(&inputs(&[], folder)), Some(Change::File(name)));
        set_needed(folder, &["Vec".to_owned()].into()).unwrap();
        assert_eq!(change(&inputs(&[], folder)), None);
    }
}
