//! Arrows between files, and the circles that they make.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::resolve::{Id, resolve};
use super::tree::Crate;

/// One place where a file names what another one declares.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    /// The outermost modules of both files.
    pub from: Id,
    pub line: usize,
    pub to: Id,
    /// The path as it is written, after `use ` where it is in one.
    pub text: String,
}

/// All arrows between different files.
///
/// A module that is only brought into scope (`use crate::files;`) is no arrow: what is named
/// through it (`files::open`) is.
pub fn arrows(crates: &[Crate]) -> BTreeSet<Arrow> {
    let mut arrows = BTreeSet::new();
    for (krate, tree) in crates.iter().enumerate() {
        for (index, module) in tree.modules.iter().enumerate() {
            let here = (krate, index);
            let mut add = |modules: &[Id], line, text: &str| {
                for &(to, target) in modules {
                    let to = (to, crates[to].modules[target].file_module);
                    let from = (krate, module.file_module);
                    if from != to {
                        arrows.insert(Arrow { from, line, to, text: text.into() });
                    }
                }
            };
            let names_a_module = |name: &str| {
                let path = [name.to_owned()];
                resolve(crates, here, &path).is_none_or(|target| target.is_module)
            };
            for used in &module.uses {
                let Some(target) = resolve(crates, here, &used.path) else { continue };
                let first = used.name.as_ref();
                let through = |path: &[String]| path.len() > 1 && path.first() == first;
                let is_named = module.paths.iter().any(|mention| through(&mention.path))
                    || module.uses.iter().any(|other| through(&other.path));
                if target.is_module && used.name.is_some() && !used.public && is_named {
                    continue;
                }
                let star = if used.name.is_none() { "::*" } else { "" };
                add(&target.modules, used.line, &format!("use {}{star}", used.path.join("::")));
            }
            for mention in &module.paths {
                // `Item::function` of an imported item counts where the item is imported.
                if !names_a_module(&mention.path[0]) {
                    continue;
                }
                if let Some(target) = resolve(crates, here, &mention.path) {
                    add(&target.modules, mention.line, &mention.path.join("::"));
                }
            }
        }
    }
    arrows
}

/// The circles: of each arrow that lies on one, a shortest. Each begins with its first file.
pub fn circles(arrows: &[&Arrow]) -> Vec<Vec<Id>> {
    let mut next: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    for arrow in arrows {
        next.entry(arrow.from).or_default().insert(arrow.to);
    }
    let mut circles = BTreeSet::new();
    for (&from, targets) in &next {
        for &to in targets {
            if let Some(mut circle) = shortest(&next, to, from) {
                let first = (0..circle.len()).min_by_key(|&i| circle[i]).unwrap_or(0);
                circle.rotate_left(first);
                circles.insert((circle.len(), circle));
            }
        }
    }
    circles.into_iter().map(|(_, circle)| circle).collect()
}

/// The files on a shortest way.
fn shortest(next: &BTreeMap<Id, BTreeSet<Id>>, from: Id, to: Id) -> Option<Vec<Id>> {
    let mut came_from = BTreeMap::from([(from, from)]);
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let step = |&file: &Id| Some(came_from[&file]).filter(|&before| before != file);
            let mut way: Vec<Id> = std::iter::successors(Some(to), step).collect();
            way.reverse();
            return Some(way);
        }
        for &target in next.get(&file).into_iter().flatten() {
            came_from.entry(target).or_insert_with(|| {
                queue.push_back(target);
                file
            });
        }
    }
    None
}
