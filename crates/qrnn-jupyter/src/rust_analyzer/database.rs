//! rust-analyzer's database: the sources of all crates, and the text of the notebook.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ra_ap_hir::{CfgAtom, CfgOptions, ChangeWithProcMacros, Symbol};
use ra_ap_ide::{AnalysisHost, CrateGraphBuilder, Edition, FileId, RootDatabase, SourceRoot};
use ra_ap_ide_db::base_db::target::{Arch, TargetData};
use ra_ap_ide_db::base_db::{
    AbsPathBuf, CrateBuilderId, CrateDisplayName, CrateName, CrateOrigin, CrateWorkspaceData,
    DependencyBuilder, Env, FileSet, LangCrateOrigin, Version, VfsPath,
};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use triomphe::Arc;

use crate::error::{Error, Result};
use crate::rust_analyzer::outline_cache::Outlines;
use crate::rust_analyzer::prefetch::Files;
use crate::rust_analyzer::project::{Crate, Project};

/// The notebook's own file; nothing of that name need be on the disk.
const CELL: &str = "/notebook/lib.rs";

pub struct Host {
    host: AnalysisHost,
    files: HashMap<PathBuf, FileId>,
    text: String,
    loaded: bool,
    /// Files that nobody has parsed, by crates.
    unread: Vec<Files>,
}

/// The notebook's file comes first.
const CELL_ID: FileId = FileId::from_raw(0);

impl Host {
    pub fn new() -> Self {
        let files = HashMap::from([(PathBuf::from(CELL), CELL_ID)]);
        let host = AnalysisHost::default();
        Self { host, files, text: String::new(), loaded: false, unread: vec![] }
    }

    pub fn analysis(&self) -> ra_ap_ide::Analysis {
        self.host.analysis()
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn file(&self) -> FileId {
        CELL_ID
    }

    pub fn database(&self) -> RootDatabase {
        self.host.raw_database().clone()
    }

    /// Files of the preloaded crates that were not parsed before; the next call has none.
    pub fn unread(&mut self) -> Vec<Files> {
        std::mem::take(&mut self.unread)
    }

    /// A library's file as it is on the disk, where rust-analyzer may have been given its outline.
    pub fn source(&self, file: FileId) -> Option<String> {
        let (path, _) = self.files.iter().find(|(_, id)| **id == file)?;
        fs::read_to_string(path).ok()
    }

    /// Whether the crates are known, be it none.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Replaces the notebook's text.
    pub fn set_text(&mut self, text: String) {
        if text != self.text {
            let mut change = ChangeWithProcMacros::default();
            change.change_file(CELL_ID, Some(text.clone()));
            self.host.apply_change(change);
            self.text = text;
        }
    }

    /// Reads the crates' sources; what was read before is kept.
    ///
    /// # Errors
    /// Where the file system has names that are not UTF-8.
    pub fn load(&mut self, project: &Project, outlines: &Outlines) -> Result<()> {
        let mut change = ChangeWithProcMacros::default();
        let mut own = FileSet::default();
        own.insert(CELL_ID, VfsPath::new_real_path(CELL.to_owned()));
        let mut roots = vec![SourceRoot::new_local(own)];
        let mut new = vec![];
        self.unread.clear();
        for krate in &project.crates {
            let mut set = FileSet::default();
            let mut unread = vec![];
            let mut files = vec![];
            let folder = krate.root.parent().unwrap_or(Path::new("/"));
            walk(folder, &mut files);
            for path in files {
                let Some(name) = path.to_str() else { continue };
                let name = VfsPath::new_real_path(name.to_owned());
                let next = FileId::from_raw(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
                let id = *self.files.entry(path.clone()).or_insert(next);
                if id == next {
                    let inside = path.strip_prefix(folder).unwrap_or(&path);
                    if krate.outlined && !is_of_a_platform(inside) {
                        unread.push(id);
                    }
                    new.push((id, path, krate.outlined));
                }
                set.insert(id, name);
            }
            if let Some(root) = self.files.get(&krate.root) {
                self.unread.push((*root, unread));
            }
            roots.push(SourceRoot::new_library(set));
        }
        let read = |(id, path, outlined): (FileId, PathBuf, bool)| {
            let text = if outlined { outlines.of(&path) } else { fs::read_to_string(path).ok() };
            (id, text)
        };
        let texts: Vec<_> = new.into_par_iter().map(read).collect();
        for (id, text) in texts {
            change.change_file(id, text);
        }
        change.change_file(CELL_ID, Some(self.text.clone()));
        change.set_roots(roots);
        change.set_crate_graph(self.graph(project)?);
        self.host.apply_change(change);
        self.loaded = true;
        Ok(())
    }

    fn graph(&self, project: &Project) -> Result<CrateGraphBuilder> {
        let mut graph = CrateGraphBuilder::default();
        let layout = project.data_layout.as_deref().ok_or("not known");
        let target =
            layout.map(|layout| TargetData { data_layout: layout.into(), arch: Arch::Other });
        let toolchain = project.rustc.as_deref().and_then(|text| Version::parse(text).ok());
        let workspace =
            Arc::new(CrateWorkspaceData { target: target.map_err(Into::into), toolchain });
        let mut ids: Vec<Option<CrateBuilderId>> = vec![];
        for krate in &project.crates {
            let Some(root) = self.files.get(&krate.root) else {
                ids.push(None);
                continue;
            };
            let id = add(&mut graph, project, krate, *root, &workspace)?;
            let known =
                krate.dependencies.iter().filter_map(|(name, n)| Some((name, (*ids.get(*n)?)?)));
            for (name, used) in known {
                depend(&mut graph, id, name, used);
            }
            if !krate.standard {
                use_standard(&mut graph, id, project, &ids);
            }
            ids.push(Some(id));
        }
        let cell = Crate {
            name: "cell".to_owned(),
            version: None,
            root: CELL.into(),
            edition: "2024".to_owned(),
            features: vec![],
            environment: vec![],
            dependencies: vec![],
            standard: false,
            outlined: false,
        };
        let id = add(&mut graph, project, &cell, CELL_ID, &workspace)?;
        use_standard(&mut graph, id, project, &ids);
        for (name, number) in &project.named {
            if let Some(Some(used)) = ids.get(*number) {
                depend(&mut graph, id, name, *used);
            }
        }
        Ok(graph)
    }
}

fn add(
    graph: &mut CrateGraphBuilder,
    project: &Project,
    krate: &Crate,
    root: FileId,
    workspace: &Arc<CrateWorkspaceData>,
) -> Result<CrateBuilderId> {
    let mut cfg = CfgOptions::default();
    cfg.extend(project.cfg.iter().map(|(key, value)| match value {
        Some(value) => CfgAtom::KeyValue { key: Symbol::intern(key), value: Symbol::intern(value) },
        None => CfgAtom::Flag(Symbol::intern(key)),
    }));
    for feature in &krate.features {
        cfg.insert_key_value(Symbol::intern("feature"), Symbol::intern(feature));
    }
    let mut environment = Env::default();
    for (name, value) in &krate.environment {
        environment.set(name, value.as_str());
    }
    let origin = match (krate.standard, root == CELL_ID) {
        (true, _) => CrateOrigin::Lang(LangCrateOrigin::from(krate.name.as_str())),
        (false, true) => CrateOrigin::Local { repo: None, name: Some(Symbol::intern("cell")) },
        (false, false) => CrateOrigin::Library { repo: None, name: Symbol::intern(&krate.name) },
    };
    let folder = krate.root.parent().and_then(Path::to_str).unwrap_or("/");
    let folder = AbsPathBuf::try_from(folder)
        .map_err(|_| Error::file(&krate.root, "this path is not absolute"))?;
    Ok(graph.add_crate_root(
        root,
        krate.edition.parse().unwrap_or(Edition::CURRENT),
        Some(CrateDisplayName::from_canonical_name(&krate.name)),
        krate.version.clone(),
        cfg,
        None,
        environment,
        origin,
        vec![],
        false,
        Arc::new(folder),
        workspace.clone(),
    ))
}

/// Cargo has refused what depends on itself, so an error here loses nothing.
fn depend(graph: &mut CrateGraphBuilder, from: CrateBuilderId, name: &str, to: CrateBuilderId) {
    let name = CrateName::normalize_dashes(name);
    let _ = graph.add_dep(from, DependencyBuilder::new(name, to));
}

/// The standard library as every crate has it: its names need no `extern crate`, `alloc`'s do.
fn use_standard(
    graph: &mut CrateGraphBuilder,
    from: CrateBuilderId,
    project: &Project,
    ids: &[Option<CrateBuilderId>],
) {
    for (krate, id) in project.crates.iter().zip(ids) {
        let (true, Some(id)) = (krate.standard, id) else { continue };
        let name = CrateName::normalize_dashes(&krate.name);
        let visible = krate.name == "core" || krate.name == "std";
        if visible || krate.name == "alloc" {
            let _ = graph.add_dep(from, DependencyBuilder::with_prelude(name, *id, visible, true));
        }
    }
}

/// Whether a file of the standard library is for some operating systems only, as most of these are;
/// one that is for this is parsed when it is wanted.
fn is_of_a_platform(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "sys" || part.as_os_str() == "os")
}

/// All Rust files below a folder.
pub fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                let name = entry.file_name();
                if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                    walk(&path, files);
                }
            }
            Ok(_) if path.extension().is_some_and(|kind| kind == "rs") => files.push(path),
            _ => {}
        }
    }
}
