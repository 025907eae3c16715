//! From a variable's type to everything that its values may consist of.

use std::collections::BTreeSet;

use ra_ap_syntax::ast::AstNode;
use ra_ap_syntax::{Edition, SourceFile};

use crate::notebook::items::{self, Item, Name};
use crate::notebook::marks::{ANY_TYPE, ERASES, EVERY_CRATE, EXPANDS, FILES};
use crate::notebook::state::Notebook;
use crate::notebook::type_erasure::is_trusted;

/// Names of the prelude that a glob import of a crate hardly ever shadows.
const PRELUDE: [&str; 5] = ["Box", "Option", "Result", "String", "Vec"];
/// Names that no glob import provides: primitive types, crates, attributes.
const KNOWN: &str = "alloc bool cfg char core derive f32 f64 i128 i16 i32 i64 i8 isize path qrnn \
                     qrnn_preload repr std str tch u128 u16 u32 u64 u8 usize";

impl Notebook {
    /// The names of items and crates that values of a type may depend on, and marks.
    pub fn dependencies(&self, ty: &str) -> BTreeSet<String> {
        let mut reached = names_of(ty);
        loop {
            let before = reached.len();
            let globs = self.has_unknown(&reached, &PRELUDE);
            let own_globs = self.has_unknown(&reached, &[]);
            let follows = |item: &&Item| match &item.name {
                Name::Own(name) => reached.contains(name),
                Name::Impl(_) => !item.head.is_disjoint(&reached),
                // A macro call may define any name.
                Name::Nameless(text) => {
                    globs || text.contains('!') || own_globs && self.is_of_the_notebook(item)
                }
            };
            let items = self.items.values().filter(follows);
            let mut more: Vec<String> = items
                .flat_map(|item| item.mentions.iter().cloned().chain([item.name.text().to_owned()]))
                .collect();
            more.extend(reached.iter().flat_map(|name| self.resolve_mark(name)));
            reached.extend(more);
            if reached.contains(ANY_TYPE) {
                reached.extend(self.items.keys().map(|name| name.text().to_owned()));
                reached.insert(EVERY_CRATE.to_owned());
            }
            if reached.len() == before {
                return reached;
            }
        }
    }

    /// What a mark means, given what the notebook defines.
    fn resolve_mark(&self, mark: &str) -> Vec<String> {
        if let Some(name) = mark.strip_prefix(EXPANDS) {
            let reads = !self.is_own(name, 0);
            return reads.then(|| FILES.to_owned()).into_iter().collect();
        }
        let Some(name) = mark.strip_prefix(ERASES) else { return vec![] };
        match self.items.get(&Name::Own(name.to_owned())) {
            // An import mentions the first name of its path.
            Some(item) if item.is_import && self.is_own(name, 0) => {
                let names = item.mentions.iter().filter(|name| !name.contains(' '));
                names.map(|name| format!("{ERASES}{name}")).collect()
            }
            Some(item) if !item.is_import => item.supertraits.iter().cloned().collect(),
            None if is_trusted(name) || self.has_trusted_globs(name) => vec![],
            _ => vec![ANY_TYPE.to_owned()],
        }
    }

    /// Whether a name comes from an item of the notebook, or from qrnn or tch.
    fn is_own(&self, name: &str, steps: usize) -> bool {
        let Some(item) = self.items.get(&Name::Own(name.to_owned())) else {
            return is_trusted(name);
        };
        let mut from = item.mentions.iter().filter(|from| !from.contains(' '));
        !item.is_import || steps < 8 && from.all(|from| self.is_own(from, steps + 1))
    }

    /// Whether a name that the notebook does not define can only come from qrnn or tch.
    fn has_trusted_globs(&self, name: &str) -> bool {
        let is_trusted_glob =
            |item: &Item| item.is_import && item.mentions.iter().all(|name| self.is_own(name, 0));
        let mut items = self.items.values();
        !self.crates.contains(name)
            && items.all(|item| !matches!(item.name, Name::Nameless(_)) || is_trusted_glob(item))
    }

    /// Whether a glob import may provide one of the names, because nothing else does.
    fn has_unknown(&self, names: &BTreeSet<String>, besides: &[&str]) -> bool {
        names.iter().any(|name| {
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            let is_known = KNOWN.split(' ').any(|known| known == name)
                || besides.contains(&name.as_str())
                || self.crates.contains(name);
            is_name && !is_known && !self.defines(name)
        })
    }

    /// Whether a glob import is from an item of the notebook.
    fn is_of_the_notebook(&self, import: &Item) -> bool {
        import.mentions.iter().any(|name| self.defines(name))
    }
}

/// The names in a type.
pub fn names_of(ty: &str) -> BTreeSet<String> {
    let parsed = SourceFile::parse(&format!("type QrnnJupyterType = {ty};"), Edition::Edition2024);
    items::mentions(parsed.tree().syntax())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notebook::marks;

    #[test]
    fn items_lead_to_crates() {
        let reached = Notebook::after(&["use rand::rngs::StdRng;", "struct A { r: StdRng }"])
            .dependencies("A");
        assert!(reached.contains("rand"), "{reached:?}");
        let glob = ["use rand::prelude::*;", "struct A { r: StdRng }", "struct B { n: Vec<u8> }"];
        assert!(Notebook::after(&glob).dependencies("A").contains("rand"));
        assert!(!Notebook::after(&glob).dependencies("B").contains("rand"));
        assert!(!Notebook::after(&glob).dependencies("std::vec::Vec<f64>").contains("rand"));
        assert!(
            Notebook::after(&[])
                .dependencies("Box<dyn std::error::Error>")
                .contains(marks::EVERY_CRATE)
        );
    }
}
