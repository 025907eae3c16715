//! From a variable's type to all that settles what its values are made of.

use std::collections::BTreeSet;

use ra_ap_syntax::ast::AstNode;
use ra_ap_syntax::{Edition, SourceFile};

use crate::notebook::items::{self, ANYTHING, FILES, Item, Name};
use crate::notebook::state::{Notebook, key};
use crate::notebook::type_erasure;
use crate::rustc::build_inputs;

/// What the language brings into scope, and what a crate's glob import hardly takes the place of.
const PRELUDE: [&str; 5] = ["Box", "Option", "Result", "String", "Vec"];
/// Names that no import changes the meaning of: primitive types, crates, attributes.
const KNOWN: &str = "alloc bool cfg char core derive f32 f64 i128 i16 i32 i64 i8 isize path qrnn \
                     qrnn_preload repr std str tch u128 u16 u32 u64 u8 usize";

impl Notebook {
    /// The names of items and crates that values of a type may depend on.
    pub fn reached(&self, ty: &str) -> BTreeSet<String> {
        let mut reached = names_of(ty);
        loop {
            let before = reached.len();
            let globs = self.has_unknown(&reached, &PRELUDE);
            let own_globs = self.has_unknown(&reached, &[]);
            let follows = |item: &&Item| match &item.name {
                Name::Own(name) => reached.contains(name),
                Name::Impl(_) => !item.head.is_disjoint(&reached),
                Name::Nameless(text) => {
                    globs || is_call(text) || own_globs && self.is_of_the_notebook(item)
                }
            };
            let more =
                self.items.values().filter(follows).flat_map(|item| {
                    item.mentions.iter().map(String::as_str).chain([key(&item.name)])
                });
            let more: BTreeSet<String> = more.map(str::to_owned).collect();
            let hidden: Vec<String> =
                reached.iter().flat_map(|name| self.hidden_behind(name)).collect();
            reached.extend(more.into_iter().chain(hidden));
            if reached.contains(ANYTHING) {
                reached.extend(self.items.keys().map(|name| key(name).to_owned()));
                reached.insert(build_inputs::ALL.to_owned());
            }
            if reached.len() == before {
                return reached;
            }
        }
    }

    /// Whether a new item may take the place of what a glob import or the language brought so far.
    pub fn may_shadow(&self, item: &Item) -> bool {
        let Name::Own(name) = &item.name else { return false };
        let first = |item: &Item| item.shape.split("::").next().map(str::to_owned);
        let globs = self.items.values().filter(|item| matches!(item.name, Name::Nameless(_)));
        let from = first(item);
        // A name of a glob's own crate is taken for the one that the glob has.
        let same = from == Some("std".into())
            || globs.filter(|glob| glob.is_import).any(|glob| first(glob) == from);
        !item.is_import || item.shape != *name && !same
    }

    /// Whether a type that leads to these names is made of something called so.
    pub fn uses(&self, ty: &str, reached: &BTreeSet<String>, name: &str) -> bool {
        let items = self.items.values().filter(|item| reached.contains(key(&item.name)));
        let mut items = items.filter(|item| !item.parameters.contains(name));
        reached.contains(name)
            && (items.any(|item| item.mentions.contains(name)) || names_of(ty).contains(name))
    }

    /// What a mark in an item's mentions comes to, with what the notebook defines.
    fn hidden_behind(&self, mark: &str) -> Vec<String> {
        if let Some(name) = mark.strip_prefix(type_erasure::EXPANDS) {
            let reads = !self.is_own(name, 0);
            return reads.then(|| FILES.to_owned()).into_iter().collect();
        }
        let Some(name) = mark.strip_prefix(type_erasure::HIDES) else { return vec![] };
        match self.items.get(&Name::Own(name.to_owned())) {
            // Of an import, `mentions` has the first name of its path.
            Some(item) if item.is_import && self.is_own(name, 0) => {
                let names = item.mentions.iter().filter(|name| !name.contains(' '));
                names.map(|name| format!("{}{name}", type_erasure::HIDES)).collect()
            }
            Some(item) if !item.is_import => item.supertraits.iter().cloned().collect(),
            None if type_erasure::is_trusted(name) || self.has_trusted_globs(name) => vec![],
            _ => vec![ANYTHING.to_owned()],
        }
    }

    /// Whether a name comes from an item of the notebook's, or from qrnn or tch.
    fn is_own(&self, name: &str, steps: usize) -> bool {
        let Some(item) = self.items.get(&Name::Own(name.to_owned())) else {
            return type_erasure::is_trusted(name);
        };
        let mut from = item.mentions.iter().filter(|from| !from.contains(' '));
        !item.is_import || steps < 8 && from.all(|from| self.is_own(from, steps + 1))
    }

    /// Whether a name that nothing here defines can come from qrnn or tch only.
    fn has_trusted_globs(&self, name: &str) -> bool {
        let mut nameless =
            self.items.values().filter(|item| matches!(item.name, Name::Nameless(_)));
        !self.crates.contains(name)
            && nameless
                .all(|item| item.is_import && item.mentions.iter().all(|name| self.is_own(name, 0)))
    }

    /// Whether there is a name that nothing here defines, and that is not `besides`: a glob import may
    /// have brought it.
    fn has_unknown(&self, names: &BTreeSet<String>, besides: &[&str]) -> bool {
        names.iter().any(|name| {
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            let is_known = KNOWN.split(' ').any(|known| known == name)
                || besides.contains(&name.as_str())
                || self.crates.contains(name);
            is_name && !is_known && !self.defines(name)
        })
    }

    /// Whether a glob import takes its names from an item of the notebook's own.
    fn is_of_the_notebook(&self, import: &Item) -> bool {
        import.mentions.iter().any(|name| self.items.contains_key(&Name::Own(name.clone())))
    }
}

/// Whether a nameless item is a macro's call, which may define any name.
fn is_call(text: &str) -> bool {
    text.contains('!')
}

fn names_of(ty: &str) -> BTreeSet<String> {
    let parsed = SourceFile::parse(&format!("type QrnnJupyterType = {ty};"), Edition::Edition2024);
    items::mentions(parsed.tree().syntax())
}
