//! The modules of a crate, each with its file, found from the crate's root as rustc finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::scan::{self, Child, Contents, Mention, Use};
use crate::error::{Error, Result};

/// A library or a program.
#[derive(Debug)]
pub struct Crate {
    /// The name of the target, as in Cargo.toml.
    pub name: String,
    /// The root first.
    pub modules: Vec<Module>,
}

#[derive(Debug)]
pub struct Module {
    /// Names from the root on; empty for the root.
    pub path: Vec<String>,
    pub file: PathBuf,
    /// The outermost module of the same file.
    pub file_module: usize,
    pub parent: Option<usize>,
    pub children: BTreeMap<String, usize>,
    pub uses: Vec<Use>,
    pub paths: Vec<Mention>,
    pub items: BTreeSet<String>,
}

impl Crate {
    /// Reads the crate whose root is this file.
    pub fn read(name: &str, root: &Path) -> Result<Self> {
        let mut tree = Self { name: name.into(), modules: vec![] };
        tree.add(None, root.into(), root.parent().unwrap_or(root), vec![], None)?;
        Ok(tree)
    }

    /// Adds a module, inline or as a file, with all below it; returns its index.
    ///
    /// `folder`: where the files of its child modules are.
    fn add(
        &mut self,
        inline: Option<Contents>,
        file: PathBuf,
        folder: &Path,
        path: Vec<String>,
        parent: Option<usize>,
    ) -> Result<usize> {
        let index = self.modules.len();
        let (contents, file_module) = match (inline, parent) {
            (Some(contents), Some(parent)) => (contents, self.modules[parent].file_module),
            _ => (scanned(&file)?, index),
        };
        let Contents { children, uses, paths, items } = contents;
        self.modules.push(Module {
            path: path.clone(),
            file: file.clone(),
            file_module,
            parent,
            children: BTreeMap::new(),
            uses,
            paths,
            items,
        });
        for child in children {
            let below = folder.join(&child.name);
            let place =
                if child.inline.is_some() { file.clone() } else { file_of(&child, &file, &below)? };
            if child.inline.is_none() && is_test(&place) {
                continue;
            }
            let path = [&path[..], std::slice::from_ref(&child.name)].concat();
            let added = self.add(child.inline, place, &below, path, Some(index))?;
            self.modules[index].children.insert(child.name, added);
        }
        Ok(index)
    }
}

fn scanned(file: &Path) -> Result<Contents> {
    scan::scan(&fs_err::read_to_string(file)?).map_err(|(line, problem)| {
        Error::machine(format!("{}:{line}: {problem}", file.display()), "make it compile")
    })
}

/// The file of `mod child;` in this file.
fn file_of(child: &Child, file: &Path, below: &Path) -> Result<PathBuf> {
    let named = child.path.as_ref().and_then(|path| file.with_file_name(path).canonicalize().ok());
    let mut places = named.into_iter().chain([below.with_extension("rs"), below.join("mod.rs")]);
    places.find(|place| place.is_file()).ok_or_else(|| {
        let what = format!("{}: `mod {};` has no file", file.display(), child.name);
        Error::machine(what, "make it compile")
    })
}

/// Whether the name of a file says that it holds tests.
fn is_test(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name == "tests.rs" || name.ends_with("_tests.rs") || file.ends_with("tests/mod.rs")
}
