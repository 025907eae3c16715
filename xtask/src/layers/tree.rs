//! The modules of a crate, each with its file, found from the crate's root as rustc finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::scan::{self, Contents, Mention, Use};
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
        let folder = root.parent().unwrap_or(root);
        tree.add_file(root.into(), folder, vec![], None)?;
        Ok(tree)
    }

    /// `folder`: where the files of its child modules are.
    fn add_file(
        &mut self,
        file: PathBuf,
        folder: &Path,
        path: Vec<String>,
        parent: Option<usize>,
    ) -> Result<usize> {
        let text = fs_err::read_to_string(&file)?;
        let contents = scan::scan(&text).map_err(|(line, problem)| {
            Error::machine(format!("{}:{line}: {problem}", file.display()), "make it compile")
        })?;
        let file_module = self.modules.len();
        self.add(contents, file, folder, path, parent, file_module)
    }

    fn add(
        &mut self,
        contents: Contents,
        file: PathBuf,
        folder: &Path,
        path: Vec<String>,
        parent: Option<usize>,
        file_module: usize,
    ) -> Result<usize> {
        let index = self.modules.len();
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
            let path = [&path[..], std::slice::from_ref(&child.name)].concat();
            let below = folder.join(&child.name);
            let added = match child.inline {
                Some(inline) => {
                    self.add(inline, file.clone(), &below, path, Some(index), file_module)?
                }
                None => {
                    let named =
                        child.path.and_then(|path| file.with_file_name(path).canonicalize().ok());
                    let mut places =
                        named.into_iter().chain([below.with_extension("rs"), below.join("mod.rs")]);
                    let found = places.find(|place| place.is_file()).ok_or_else(|| {
                        Error::machine(
                            format!("{}: `mod {};` has no file", file.display(), child.name),
                            "make it compile",
                        )
                    })?;
                    if is_test(&found) {
                        continue;
                    }
                    self.add_file(found, &below, path, Some(index))?
                }
            };
            self.modules[index].children.insert(child.name, added);
        }
        Ok(index)
    }
}

/// Whether the name of a file says that it holds tests.
fn is_test(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name == "tests.rs" || name.ends_with("_tests.rs") || file.ends_with("tests/mod.rs")
}
