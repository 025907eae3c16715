//! The crates that cells see, and where their sources lie.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// Crates of the standard library, each with those that it uses from before it.
const STANDARD: [(&str, &[&str]); 4] = [
    ("core", &[]),
    ("alloc", &["core"]),
    ("std_detect", &["core"]),
    ("std", &["core", "alloc", "std_detect", "hashbrown"]),
];
/// What cells see of a package that the user asked for by `:dep` may be defined in a package that it
/// uses; so many steps away.
const STEPS: usize = 2;

/// All that is known of the crates and of the compiler.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Project {
    /// Each after those that it depends on; the standard library's first.
    pub crates: Vec<Crate>,
    /// Names and numbers of crates that cells can name.
    pub named: Vec<(String, usize)>,
    /// rustc's `cfg`: `unix`, `target_os="linux"`.
    pub cfg: Vec<(String, Option<String>)>,
    pub rustc: Option<String>,
    pub data_layout: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crate {
    pub name: String,
    pub version: Option<String>,
    pub root: PathBuf,
    pub edition: String,
    pub features: Vec<String>,
    /// What cargo sets when it compiles the crate.
    pub environment: Vec<(String, String)>,
    pub dependencies: Vec<(String, usize)>,
    pub standard: bool,
    /// Whether its sources are shown to rust-analyzer without what cells do not see: of the crates
    /// whose sources are known not to suffer by it.
    pub outlined: bool,
}

/// Programs that are at work, so that their output is there when it is wanted.
pub struct Asked {
    sysroot: Child,
    cfg: Child,
    version: Child,
    target: Child,
    metadata: Option<Child>,
}

/// Asks rustc and cargo. The manifest is written into `folder`.
///
/// # Errors
/// Where the folder cannot be written, or rustc cannot be run.
pub fn ask(folder: &Path, dependencies: &str) -> Result<Asked> {
    let rustc = |arguments: &[&str]| {
        let mut command = Command::new("rustc");
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("RUSTC_BOOTSTRAP", "1").stderr(Stdio::null());
        command.spawn().map_err(Error::system("run rustc"))
    };
    Ok(Asked {
        sysroot: rustc(&["--print", "sysroot"])?,
        cfg: rustc(&["--print", "cfg"])?,
        version: rustc(&["--version"])?,
        target: rustc(&["-Zunstable-options", "--print", "target-spec-json"])?,
        metadata: if dependencies.is_empty() {
            None
        } else {
            Some(metadata(folder, dependencies)?)
        },
    })
}

fn metadata(folder: &Path, dependencies: &str) -> Result<Child> {
    let manifest = folder.join("Cargo.toml");
    let text = format!(
        "[package]\nname = \"cell\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\npath = \"cell.rs\"\n[workspace]\n[dependencies]\n{dependencies}\n"
    );
    fs::write(&manifest, text).map_err(Error::io(&manifest, "write"))?;
    let source = folder.join("cell.rs");
    fs::write(&source, "").map_err(Error::io(&source, "write"))?;
    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1", "--offline", "--filter-platform"]);
    command.arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::null()).spawn().map_err(Error::system("run cargo"))
}

impl Asked {
    /// The project. Without the standard library where its sources are missing, without other
    /// crates where cargo cannot find them.
    pub fn project(self) -> Project {
        let mut project = Project::default();
        let sysroot = said(self.sysroot);
        let metadata = self.metadata.and_then(said);
        let metadata: Value =
            metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        if let Some(library) = sysroot.as_deref().map(library).filter(|path| has_sources(path)) {
            project.add_standard(&library, hashbrown(&metadata));
        }
        project.cfg = said(self.cfg).unwrap_or_default().lines().map(cfg).collect();
        let version = said(self.version);
        project.rustc = version.and_then(|text| text.split(' ').nth(1).map(str::to_owned));
        let target = said(self.target).and_then(|text| serde_json::from_str::<Value>(&text).ok());
        project.data_layout =
            target.and_then(|target| target["data-layout"].as_str().map(str::to_owned));
        project.add_packages(&metadata);
        project
    }
}

/// What a program prints, if it succeeds.
fn said(child: Child) -> Option<String> {
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where the standard library's sources lie under a sysroot.
pub fn library(sysroot: &str) -> PathBuf {
    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library")
}

/// Whether these are sources of the standard library (rustup's component rust-src).
pub fn has_sources(library: &Path) -> bool {
    ["core", "alloc", "std"].iter().all(|name| library.join(name).join("src/lib.rs").is_file())
}

fn cfg(line: &str) -> (String, Option<String>) {
    match line.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.trim_matches('"').to_owned())),
        None => (line.to_owned(), None),
    }
}

impl Project {
    fn add_standard(&mut self, library: &Path, hashbrown: Option<Crate>) {
        let mut hashbrown = hashbrown;
        for (name, uses) in STANDARD {
            // What maps are made of, between alloc and std.
            if name == "std"
                && let Some(mut krate) = hashbrown.take()
            {
                let uses = self.crates.iter().enumerate();
                krate.dependencies = uses.map(|(n, one)| (one.name.clone(), n)).collect();
                self.crates.push(krate);
            }
            let root = library.join(name).join("src/lib.rs");
            if root.is_file() {
                let dependencies = uses.iter().filter_map(|used| {
                    let number = self.crates.iter().position(|one| one.name == *used)?;
                    Some(((*used).to_owned(), number))
                });
                let dependencies = dependencies.collect();
                self.crates.push(Crate {
                    name: name.to_owned(),
                    version: None,
                    root,
                    edition: "2024".to_owned(),
                    features: vec![],
                    environment: vec![],
                    dependencies,
                    standard: true,
                    outlined: true,
                });
            }
        }
    }

    /// The packages that cells name, of what `cargo metadata` says. rust-analyzer reads every file of
    /// a crate, and the hundred crates behind qrnn would take it longer than anyone waits.
    fn add_packages(&mut self, metadata: &Value) {
        let packages = by_id(&metadata["packages"]);
        let nodes = by_id(&metadata["resolve"]["nodes"]);
        let Some(root) = metadata["resolve"]["root"].as_str().and_then(|id| nodes.get(id)) else {
            return;
        };
        let mut numbers = HashMap::new();
        for (name, id) in uses(root) {
            let own = packages.get(id).is_some_and(|package| is_preloaded(package));
            let steps = if own { 0 } else { STEPS };
            if let Some(number) = self.add_package(id, steps, &packages, &nodes, &mut numbers) {
                self.named.push((name, number));
            }
        }
        // What was left out for one may be there for another.
        for (id, number) in &numbers {
            let node = nodes.get(id.as_str()).copied().unwrap_or(&Value::Null);
            let all = uses(node).into_iter();
            let known = all.filter_map(|(name, id)| Some((name, *numbers.get(id)?)));
            self.crates[*number].dependencies = known.collect();
        }
    }

    fn add_package(
        &mut self,
        id: &str,
        steps: usize,
        packages: &HashMap<&str, &Value>,
        nodes: &HashMap<&str, &Value>,
        numbers: &mut HashMap<String, usize>,
    ) -> Option<usize> {
        let (package, node) = (packages.get(id)?, nodes.get(id)?);
        if steps > 0 {
            for (_, used) in uses(node) {
                self.add_package(used, steps - 1, packages, nodes, numbers);
            }
        }
        if let Some(number) = numbers.get(id) {
            return Some(*number);
        }
        let krate = described(package, node)?;
        self.crates.push(krate);
        numbers.insert(id.to_owned(), self.crates.len() - 1);
        Some(self.crates.len() - 1)
    }
}

/// The standard library's maps are those of a crate whose sources rust-src lacks; qrnn uses it too.
fn hashbrown(metadata: &Value) -> Option<Crate> {
    let mut packages = metadata["packages"].as_array()?.iter();
    let package = packages.rfind(|package| package["name"] == "hashbrown")?;
    let mut krate = described(package, &Value::Null)?;
    krate.features =
        ["nightly", "rustc-dep-of-std", "rustc-internal-api"].map(str::to_owned).into();
    krate.standard = true;
    krate.outlined = true;
    Some(krate)
}

fn by_id(list: &Value) -> HashMap<&str, &Value> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|one| Some((one["id"].as_str()?, one))).collect()
}

/// Of the crates that are preloaded, all that cells see is their own.
fn is_preloaded(package: &Value) -> bool {
    ["qrnn", "qrnn-preload", "tch"].iter().any(|name| package["name"] == **name)
}

/// The names under which a package uses others, and their ids; not those that its tests or its build
/// script use.
fn uses(node: &Value) -> Vec<(String, &str)> {
    let dependencies = node["deps"].as_array().into_iter().flatten().filter(|dependency| {
        let kinds = dependency["dep_kinds"].as_array();
        kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    });
    let named = dependencies.filter_map(|dependency| {
        Some((dependency["name"].as_str()?.to_owned(), dependency["pkg"].as_str()?))
    });
    named.collect()
}

/// A package's library; none where it has none, or one that only the compiler can run.
fn described(package: &Value, node: &Value) -> Option<Crate> {
    const KINDS: [&str; 4] = ["lib", "rlib", "dylib", "staticlib"];
    let target = package["targets"].as_array()?.iter().find(|target| {
        let mut kinds = target["kind"].as_array().into_iter().flatten();
        kinds.any(|kind| kind.as_str().is_some_and(|kind| KINDS.contains(&kind)))
    })?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (name, version) = (text(&package["name"])?, text(&package["version"]));
    let features = node["features"].as_array().into_iter().flatten().filter_map(text).collect();
    let manifest = PathBuf::from(text(&package["manifest_path"])?);
    let mut environment = vec![
        ("CARGO_PKG_NAME".to_owned(), name),
        ("CARGO_PKG_VERSION".to_owned(), version.clone().unwrap_or_default()),
    ];
    if let Some(folder) = manifest.parent().and_then(Path::to_str) {
        environment.push(("CARGO_MANIFEST_DIR".to_owned(), folder.to_owned()));
    }
    Some(Crate {
        name: text(&target["name"])?.replace('-', "_"),
        version,
        root: text(&target["src_path"])?.into(),
        edition: text(&target["edition"])?,
        features,
        environment,
        dependencies: vec![],
        standard: false,
        outlined: is_preloaded(package),
    })
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
