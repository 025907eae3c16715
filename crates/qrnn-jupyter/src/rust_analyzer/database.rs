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
use crate::rust_analyzer::outline_cache::OutlineCache;
use crate::rust_analyzer::project::{Crate, Project};

/// rust-analyzer recurses deeply; threads that use it need this stack.
pub const STACK_SIZE: usize = 256 << 20;

/// The notebook's file, which is not on disk.
const CELL: &str = "/notebook/lib.rs";
const CELL_ID: FileId = FileId::from_raw(0);

/// A crate's root, and files of the crate.
pub type CrateFiles = (FileId, Vec<FileId>);

pub struct Database {
    host: AnalysisHost,
    files: HashMap<PathBuf, FileId>,
    text: String,
    loaded: bool,
    /// Files that were not parsed yet.
    unparsed: Vec<CrateFiles>,
}

impl Database {
    pub fn new() -> Self {
        let files = HashMap::from([(PathBuf::from(CELL), CELL_ID)]);
        let host = AnalysisHost::default();
        Self { host, files, text: String::new(), loaded: false, unparsed: vec![] }
    }

    pub fn analysis(&self) -> ra_ap_ide::Analysis {
        self.host.analysis()
    }

    /// The text of the notebook.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn file(&self) -> FileId {
        CELL_ID
    }

    pub fn snapshot(&self) -> RootDatabase {
        self.host.raw_database().clone()
    }

    /// The files of preloaded crates that were not parsed; the next call returns none.
    pub fn take_unparsed(&mut self) -> Vec<CrateFiles> {
        std::mem::take(&mut self.unparsed)
    }

    /// A library's file as it is on disk; rust-analyzer may have its outline only.
    pub fn source(&self, file: FileId) -> Option<String> {
        let (path, _) = self.files.iter().find(|(_, id)| **id == file)?;
        fs::read_to_string(path).ok()
    }

    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    pub fn set_text(&mut self, text: String) {
        if text != self.text {
            let mut change = ChangeWithProcMacros::default();
            change.change_file(CELL_ID, Some(text.clone()));
            self.host.apply_change(change);
            self.text = text;
        }
    }

    /// Loads the sources of the crates. Files that were loaded before are kept.
    pub fn load(&mut self, project: &Project, outlines: &OutlineCache) -> Result<()> {
        let mut change = ChangeWithProcMacros::default();
        let mut own = FileSet::default();
        own.insert(CELL_ID, VfsPath::new_real_path(CELL.to_owned()));
        let mut roots = vec![SourceRoot::new_local(own)];
        let mut new = vec![];
        self.unparsed.clear();
        for krate in &project.crates {
            let mut set = FileSet::default();
            let mut unparsed = vec![];
            for path in krate.files() {
                let Some(name) = path.to_str() else { continue };
                let name = VfsPath::new_real_path(name.to_owned());
                let next = FileId::from_raw(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
                let id = *self.files.entry(path.clone()).or_insert(next);
                if id == next {
                    let inside = path.strip_prefix(krate.folder()).unwrap_or(&path);
                    if krate.outlined && !is_for_a_platform(inside) {
                        unparsed.push(id);
                    }
                    new.push((id, path, krate.outlined));
                }
                set.insert(id, name);
            }
            if let Some(root) = self.files.get(&krate.root) {
                self.unparsed.push((*root, unparsed));
            }
            roots.push(SourceRoot::new_library(set));
        }
        let read = |(id, path, outlined): (FileId, PathBuf, bool)| {
            let text =
                if outlined { outlines.outline(&path) } else { fs::read_to_string(path).ok() };
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
        let layout = project.data_layout.as_deref().ok_or("unknown");
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
            let id = add_crate(&mut graph, project, krate, *root, &workspace)?;
            for (name, index) in &krate.dependencies {
                if let Some(Some(used)) = ids.get(*index) {
                    add_dependency(&mut graph, id, name, *used);
                }
            }
            if !krate.standard {
                add_standard_library(&mut graph, id, project, &ids);
            }
            ids.push(Some(id));
        }
        let cell = Crate {
            name: "cell".to_owned(),
            root: CELL.into(),
            edition: "2024".to_owned(),
            ..Crate::default()
        };
        let id = add_crate(&mut graph, project, &cell, CELL_ID, &workspace)?;
        add_standard_library(&mut graph, id, project, &ids);
        for (name, index) in &project.named {
            if let Some(Some(used)) = ids.get(*index) {
                add_dependency(&mut graph, id, name, *used);
            }
        }
        Ok(graph)
    }
}

fn add_crate(
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
    let folder = AbsPathBuf::try_from(krate.folder().to_str().unwrap_or("/"))
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

fn add_dependency(
    graph: &mut CrateGraphBuilder,
    from: CrateBuilderId,
    name: &str,
    to: CrateBuilderId,
) {
    let name = CrateName::normalize_dashes(name);
    // Fails for circles, which cargo does not allow.
    let _ = graph.add_dep(from, DependencyBuilder::new(name, to));
}

/// Every crate has the names of `core` and `std` in scope; `alloc` needs an `extern crate`.
fn add_standard_library(
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

/// Whether a file of the standard library is for some operating systems. Most are for other systems
/// than this one, so they are not parsed ahead.
fn is_for_a_platform(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "sys" || part.as_os_str() == "os")
}
