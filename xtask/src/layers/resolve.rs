//! From the paths of a module to the files that declare what they name.

use super::tree::Crate;

/// A module: the index of its crate, and its own there.
pub type Id = (usize, usize);

/// How many re-exports of re-exports are followed: two modules may import each other's names.
const DEPTH: usize = 16;

/// Where a path leads.
#[derive(Debug, Default, PartialEq)]
pub struct Target {
    /// The modules that declare the item or re-export it; for a module, that module.
    pub modules: Vec<Id>,
    /// Whether the path names a module, not an item.
    pub is_module: bool,
}

/// Resolves a path that is written in the module `from`, as Rust does, in the crates of the
/// workspace: `None` for any other crate, for a type's associated items, for a local name.
///
/// An item that a module re-exports counts for that module and for the one that declares it.
pub fn resolve(crates: &[Crate], from: Id, path: &[String]) -> Option<Target> {
    resolve_within(crates, from, path, DEPTH)
}

fn resolve_within(crates: &[Crate], from: Id, path: &[String], depth: usize) -> Option<Target> {
    let depth = depth.checked_sub(1)?;
    let (krate, module) = from;
    let tree = &crates[krate].modules;
    let (first, rest) = path.split_first()?;
    let start = match first.as_str() {
        "crate" => (krate, 0),
        "self" => from,
        "super" => (krate, tree[module].parent?),
        name => {
            if let Some(&child) = tree[module].children.get(name) {
                (krate, child)
            } else if let Some(used) = named(crates, from, name) {
                // `use a::b::{self}` of the same name would lead back here.
                let target =
                    (used != path).then(|| resolve_within(crates, from, used, depth))??;
                if !target.is_module {
                    return Some(target);
                }
                *target.modules.last()?
            } else {
                let named = |other: &Crate| other.name.replace('-', "_") == *name;
                // A program may have its library's name: the library comes first in the list.
                (crates.iter().position(named)?, 0)
            }
        }
    };
    walk(crates, start, rest, depth)
}

/// The path of the `use` that brings this name into a module.
fn named<'a>(crates: &'a [Crate], (krate, module): Id, name: &str) -> Option<&'a [String]> {
    let uses = &crates[krate].modules[module].uses;
    uses.iter().find(|used| used.name.as_deref() == Some(name)).map(|used| &used.path[..])
}

/// Follows the rest of a path from a module on.
fn walk(crates: &[Crate], start: Id, rest: &[String], depth: usize) -> Option<Target> {
    let Some((name, rest)) = rest.split_first() else {
        return Some(Target { modules: vec![start], is_module: true });
    };
    let (krate, index) = start;
    let module = &crates[krate].modules[index];
    if name == "super" {
        return walk(crates, (krate, module.parent?), rest, depth);
    }
    if let Some(&child) = module.children.get(name) {
        return walk(crates, (krate, child), rest, depth);
    }
    let mut target = Target { modules: vec![start], is_module: false };
    let through = |used: &[String]| {
        let path = [used, rest].concat();
        resolve_within(crates, start, &path, depth)
    };
    if let Some(used) = named(crates, start, name) {
        if let Some(further) = through(used) {
            target.modules.extend(further.modules);
            target.is_module = further.is_module;
        }
    } else if !module.items.contains(name) {
        for glob in module.uses.iter().filter(|used| used.name.is_none() && used.public) {
            let path = [&glob.path[..], std::slice::from_ref(name)].concat();
            let declares = |id: &Id| {
                let module = &crates[id.0].modules[id.1];
                module.items.contains(name) || module.children.contains_key(name)
            };
            if let Some(further) = through(&path)
                && further.modules.iter().any(declares)
            {
                target.modules.extend(further.modules);
                break;
            }
        }
    }
    Some(target)
}
