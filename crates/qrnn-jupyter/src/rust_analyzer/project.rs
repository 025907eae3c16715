//! The crates that cells can see, and their sources.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cargo_metadata::{DependencyKind, Metadata, Node, Package, PackageId, TargetKind};
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

/// Asks rustc and cargo, which run at the same time. Writes a manifest to `folder`.
///
/// The project lacks the standard library if rust-src is missing, and other crates if cargo cannot find
/// them.
pub fn find(folder: &Path, dependencies: &str) -> Result<Project> {
    let rustc = |arguments: &[&str]| {
        let mut command = Command::new("rustc");
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("RUSTC_BOOTSTRAP", "1").stderr(Stdio::null());
        command.spawn().map_err(Error::system("run rustc"))
    };
    let metadata = (!dependencies.is_empty()).then(|| start_metadata(folder, dependencies));
    let sysroot = rustc(&["--print", "sysroot"])?;
    let cfg = rustc(&["--print", "cfg"])?;
    let version = rustc(&["--version"])?;
    let target = rustc(&["-Zunstable-options", "--print", "target-spec-json"])?;
    let metadata = metadata.transpose()?.and_then(output);

    let mut project = Project::default();
    let metadata: Option<Metadata> = metadata.and_then(|text| serde_json::from_str(&text).ok());
    let library = output(sysroot).as_deref().map(rust_src::library);
    if let Some(library) = library.filter(|path| rust_src::is_complete(path)) {
        project.add_standard(&library, metadata.as_ref().and_then(hashbrown));
    }
    project.cfg = output(cfg).unwrap_or_default().lines().map(parse_cfg).collect();
    project.rustc = output(version).and_then(|text| text.split(' ').nth(1).map(str::to_owned));
    let target = output(target).and_then(|text| serde_json::from_str::<Value>(&text).ok());
    project.data_layout =
        target.and_then(|target| target["data-layout"].as_str().map(str::to_owned));
    if let Some(metadata) = &metadata {
        project.add_packages(metadata);
    }
    Ok(project)
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

    /// Adds the packages that cells can name. rust-analyzer reads every file of a crate, so the hundred
    /// crates behind qrnn are left out.
    fn add_packages(&mut self, metadata: &Metadata) {
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
        let nodes: HashMap<&PackageId, &Node> = nodes.map(|node| (&node.id, node)).collect();
        let packages = metadata.packages.iter().filter_map(|package| {
            let node = *nodes.get(&package.id)?;
            Some((&package.id, (package, node)))
        });
        let packages: Packages<'_> = packages.collect();
        let root = metadata.resolve.as_ref().and_then(|resolve| resolve.root.as_ref());
        let Some(root) = root.and_then(|id| nodes.get(id)) else { return };
        let mut indices = HashMap::new();
        for (name, id) in dependencies(root) {
            let own = packages.get(id).is_some_and(|(package, _)| is_preloaded(package));
            let depth = if own { 0 } else { DEPTH };
            if let Some(index) = self.add_package(id, depth, &packages, &mut indices) {
                self.named.push((name.to_owned(), index));
            }
        }
        // A crate may depend on one that was added for another.
        for (id, index) in &indices {
            let added = dependencies(nodes[id])
                .filter_map(|(name, id)| Some((name.to_owned(), *indices.get(id)?)));
            self.crates[*index].dependencies = added.collect();
        }
    }

    fn add_package<'a>(
        &mut self,
        id: &'a PackageId,
        depth: usize,
        packages: &Packages<'a>,
        indices: &mut HashMap<&'a PackageId, usize>,
    ) -> Option<usize> {
        let (package, node) = packages.get(id)?;
        if depth > 0 {
            for (_, used) in dependencies(node) {
                self.add_package(used, depth - 1, packages, indices);
            }
        }
        if let Some(index) = indices.get(id) {
            return Some(*index);
        }
        let krate = library(package)?;
        let features = node.features.iter().map(ToString::to_string).collect();
        self.crates.push(Crate { features, outlined: is_preloaded(package), ..krate });
        let index = self.crates.len() - 1;
        indices.insert(id, index);
        Some(index)
    }
}

/// Packages with their place in the dependency graph.
type Packages<'a> = HashMap<&'a PackageId, (&'a Package, &'a Node)>;

/// rust-src lacks hashbrown, which the standard library's maps consist of; qrnn depends on it too.
fn hashbrown(metadata: &Metadata) -> Option<Crate> {
    let package = metadata.packages.iter().rfind(|package| package.name == "hashbrown")?;
    let features = ["nightly", "rustc-dep-of-std", "rustc-internal-api"].map(str::to_owned).into();
    Some(Crate { features, standard: true, outlined: true, ..library(package)? })
}

/// Preloaded crates re-export nothing from crates outside.
fn is_preloaded(package: &Package) -> bool {
    ["qrnn", "qrnn-preload", "tch"].contains(&package.name.as_str())
}

/// The dependencies of a package, except those of its tests and build script: names and ids.
fn dependencies(node: &Node) -> impl Iterator<Item = (&str, &PackageId)> {
    let normal = node.deps.iter().filter(|dependency| {
        dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
    });
    normal.map(|dependency| (dependency.name.as_str(), &dependency.pkg))
}

/// The library of a package; `None` if it has none or only a procedural macro.
fn library(package: &Package) -> Option<Crate> {
    use TargetKind::{DyLib, Lib, RLib, StaticLib};
    let is_library = |kind: &TargetKind| matches!(kind, DyLib | Lib | RLib | StaticLib);
    let target = package.targets.iter().find(|target| target.kind.iter().any(is_library))?;
    let version = package.version.to_string();
    let mut environment = vec![
        ("CARGO_PKG_NAME".to_owned(), package.name.to_string()),
        ("CARGO_PKG_VERSION".to_owned(), version.clone()),
    ];
    if let Some(folder) = package.manifest_path.parent() {
        environment.push(("CARGO_MANIFEST_DIR".to_owned(), folder.to_string()));
    }
    Some(Crate {
        name: target.name.replace('-', "_"),
        version: Some(version),
        root: target.src_path.clone().into(),
        edition: target.edition.to_string(),
        environment,
        ..Crate::default()
    })
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
