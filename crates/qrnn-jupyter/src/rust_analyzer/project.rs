//! The crates that cells can see, and their sources.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::toolchain::rust_src;

/// Crates of the standard library, each with those that it depends on.
const STANDARD: [(&str, &[&str]); 4] = [
    ("core", &[]),
    ("alloc", &["core"]),
    ("std_detect", &["core"]),
    ("std", &["core", "alloc", "std_detect", "hashbrown"]),
];
/// A crate that was added by `:dep` may re-export from crates this many steps away.
const DEPTH: usize = 2;

/// The crates and the compiler's settings.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Project {
    /// Each after its dependencies; the standard library's first.
    pub crates: Vec<Crate>,
    /// The crates that cells can name: names and indices.
    pub named: Vec<(String, usize)>,
    /// rustc's `cfg`: `unix`, `target_os="linux"`.
    pub cfg: Vec<(String, Option<String>)>,
    pub rustc: Option<String>,
    pub data_layout: Option<String>,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crate {
    pub name: String,
    pub version: Option<String>,
    /// The root file.
    pub root: PathBuf,
    pub edition: String,
    pub features: Vec<String>,
    /// Variables that cargo sets when it compiles the crate.
    pub environment: Vec<(String, String)>,
    /// Names and indices.
    pub dependencies: Vec<(String, usize)>,
    pub standard: bool,
    /// Whether rust-analyzer gets outlines of its files. Only for crates that were tested with them.
    pub outlined: bool,
}

impl Crate {
    pub fn folder(&self) -> &Path {
        self.root.parent().unwrap_or(Path::new("/"))
    }

    /// The Rust files in its folder.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![];
        collect_files(self.folder(), &mut files);
        files
    }
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                let name = entry.file_name();
                if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                    collect_files(&path, files);
                }
            }
            Ok(_) if path.extension().is_some_and(|kind| kind == "rs") => files.push(path),
            _ => {}
        }
    }
}

/// Running rustc and cargo processes; they run at the same time.
pub struct Query {
    sysroot: Child,
    cfg: Child,
    version: Child,
    target: Child,
    metadata: Option<Child>,
}

/// Starts the processes. Writes a manifest to `folder`.
pub fn query(folder: &Path, dependencies: &str) -> Result<Query> {
    let rustc = |arguments: &[&str]| {
        let mut command = Command::new("rustc");
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("RUSTC_BOOTSTRAP", "1").stderr(Stdio::null());
        command.spawn().map_err(Error::system("run rustc"))
    };
    let metadata = (!dependencies.is_empty()).then(|| start_metadata(folder, dependencies));
    Ok(Query {
        sysroot: rustc(&["--print", "sysroot"])?,
        cfg: rustc(&["--print", "cfg"])?,
        version: rustc(&["--version"])?,
        target: rustc(&["-Zunstable-options", "--print", "target-spec-json"])?,
        metadata: metadata.transpose()?,
    })
}

fn start_metadata(folder: &Path, dependencies: &str) -> Result<Child> {
    let manifest = format!(
        "[package]\nname = \"cell\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\npath = \"cell.rs\"\n[workspace]\n[dependencies]\n{dependencies}\n"
    );
    for (name, text) in [("Cargo.toml", &*manifest), ("cell.rs", "")] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Error::io(&path, "write"))?;
    }
    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1", "--offline", "--filter-platform"]);
    command.arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::null()).spawn().map_err(Error::system("run cargo"))
}

impl Query {
    /// Waits for the processes. The project lacks the standard library if rust-src is missing, and
    /// other crates if cargo cannot find them.
    pub fn project(self) -> Project {
        let mut project = Project::default();
        let sysroot = output(self.sysroot);
        let metadata = self.metadata.and_then(output);
        let metadata: Value =
            metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let library = sysroot.as_deref().map(rust_src::library);
        if let Some(library) = library.filter(|path| rust_src::is_complete(path)) {
            project.add_standard(&library, hashbrown(&metadata));
        }
        project.cfg = output(self.cfg).unwrap_or_default().lines().map(parse_cfg).collect();
        let version = output(self.version);
        project.rustc = version.and_then(|text| text.split(' ').nth(1).map(str::to_owned));
        let target = output(self.target).and_then(|text| serde_json::from_str::<Value>(&text).ok());
        project.data_layout =
            target.and_then(|target| target["data-layout"].as_str().map(str::to_owned));
        project.add_packages(&metadata);
        project
    }
}

/// The standard output of a successful process.
fn output(child: Child) -> Option<String> {
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn parse_cfg(line: &str) -> (String, Option<String>) {
    match line.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.trim_matches('"').to_owned())),
        None => (line.to_owned(), None),
    }
}

impl Project {
    fn add_standard(&mut self, library: &Path, mut hashbrown: Option<Crate>) {
        for (name, uses) in STANDARD {
            // The standard library's maps, between alloc and std.
            if name == "std"
                && let Some(mut krate) = hashbrown.take()
            {
                let all = self.crates.iter().enumerate();
                krate.dependencies = all.map(|(index, one)| (one.name.clone(), index)).collect();
                self.crates.push(krate);
            }
            let root = library.join(name).join("src/lib.rs");
            if root.is_file() {
                let dependencies = uses.iter().filter_map(|used| {
                    let index = self.crates.iter().position(|one| one.name == *used)?;
                    Some(((*used).to_owned(), index))
                });
                let dependencies = dependencies.collect();
                self.crates.push(Crate {
                    name: name.to_owned(),
                    root,
                    edition: "2024".to_owned(),
                    dependencies,
                    standard: true,
                    outlined: true,
                    ..Crate::default()
                });
            }
        }
    }

    /// Adds the packages that cells can name, from cargo's metadata. rust-analyzer reads every file
    /// of a crate, so the hundred crates behind qrnn are left out.
    fn add_packages(&mut self, metadata: &Value) {
        let graph = Graph {
            packages: by_id(&metadata["packages"]),
            nodes: by_id(&metadata["resolve"]["nodes"]),
        };
        let root = metadata["resolve"]["root"].as_str();
        let Some(root) = root.and_then(|id| graph.nodes.get(id)) else { return };
        let mut indices = HashMap::new();
        for (name, id) in dependencies(root) {
            let own = graph.packages.get(id).is_some_and(|package| is_preloaded(package));
            let depth = if own { 0 } else { DEPTH };
            if let Some(index) = self.add_package(id, depth, &graph, &mut indices) {
                self.named.push((name, index));
            }
        }
        // A crate may depend on one that was added for another.
        for (id, index) in &indices {
            let node = graph.nodes.get(id.as_str()).copied().unwrap_or(&Value::Null);
            let all = dependencies(node).into_iter();
            let added = all.filter_map(|(name, id)| Some((name, *indices.get(id)?)));
            self.crates[*index].dependencies = added.collect();
        }
    }

    fn add_package(
        &mut self,
        id: &str,
        depth: usize,
        graph: &Graph<'_>,
        indices: &mut HashMap<String, usize>,
    ) -> Option<usize> {
        let (package, node) = (graph.packages.get(id)?, graph.nodes.get(id)?);
        if depth > 0 {
            for (_, used) in dependencies(node) {
                self.add_package(used, depth - 1, graph, indices);
            }
        }
        if let Some(index) = indices.get(id) {
            return Some(*index);
        }
        self.crates.push(library(package, node)?);
        let index = self.crates.len() - 1;
        indices.insert(id.to_owned(), index);
        Some(index)
    }
}

/// Cargo's metadata by package id.
struct Graph<'a> {
    packages: HashMap<&'a str, &'a Value>,
    nodes: HashMap<&'a str, &'a Value>,
}

/// rust-src lacks hashbrown, which the standard library's maps consist of; qrnn depends on it too.
fn hashbrown(metadata: &Value) -> Option<Crate> {
    let mut packages = metadata["packages"].as_array()?.iter();
    let package = packages.rfind(|package| package["name"] == "hashbrown")?;
    let features = ["nightly", "rustc-dep-of-std", "rustc-internal-api"].map(str::to_owned).into();
    let krate = library(package, &Value::Null)?;
    Some(Crate { features, standard: true, outlined: true, ..krate })
}

fn by_id(list: &Value) -> HashMap<&str, &Value> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|one| Some((one["id"].as_str()?, one))).collect()
}

/// Preloaded crates re-export nothing from crates outside.
fn is_preloaded(package: &Value) -> bool {
    ["qrnn", "qrnn-preload", "tch"].iter().any(|name| package["name"] == **name)
}

/// The dependencies of a package, except those of its tests and build script: names and ids.
fn dependencies(node: &Value) -> Vec<(String, &str)> {
    let dependencies = node["deps"].as_array().into_iter().flatten().filter(|dependency| {
        let kinds = dependency["dep_kinds"].as_array();
        kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    });
    let named = dependencies.filter_map(|dependency| {
        Some((dependency["name"].as_str()?.to_owned(), dependency["pkg"].as_str()?))
    });
    named.collect()
}

/// The library of a package; `None` if it has none or only a procedural macro.
fn library(package: &Value, node: &Value) -> Option<Crate> {
    const KINDS: [&str; 4] = ["lib", "rlib", "dylib", "staticlib"];
    let target = package["targets"].as_array()?.iter().find(|target| {
        let mut kinds = target["kind"].as_array().into_iter().flatten();
        kinds.any(|kind| kind.as_str().is_some_and(|kind| KINDS.contains(&kind)))
    })?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (name, version) = (text(&package["name"])?, text(&package["version"]));
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
        features: node["features"].as_array().into_iter().flatten().filter_map(text).collect(),
        environment,
        outlined: is_preloaded(package),
        ..Crate::default()
    })
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
