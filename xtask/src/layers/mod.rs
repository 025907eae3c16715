//! Which file imports from which: no circle between files, no arrow from a lower room to a higher.

pub mod command;
mod graph;
mod resolve;
mod scan;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter, Write};
use std::path::{Path, PathBuf};

use graph::Arrow;
use resolve::Id;
use table::Orders;
use tree::Crate;

use crate::error::Result;

/// The crates of the workspace with all their arrows.
struct Workspace {
    root: PathBuf,
    crates: Vec<Crate>,
    arrows: BTreeSet<Arrow>,
    orders: Orders,
}

/// A room of the table, by the number of its line.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Room<'a> {
    line: usize,
    name: &'a str,
    reason: &'a str,
}

impl Display for Room<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

impl Workspace {
    /// Reads libraries and programs: the name of each and its root file.
    fn read(root: &Path, targets: &[(String, PathBuf)]) -> Result<Self> {
        let crates: Vec<Crate> =
            targets.iter().map(|(name, file)| Crate::read(name, file)).collect::<Result<_>>()?;
        let arrows = graph::arrows(&crates);
        Ok(Self { root: root.into(), crates, arrows, orders: table::read()? })
    }

    /// What is wrong with one crate, a paragraph each.
    fn faults(&self, name: &str) -> Vec<String> {
        let Some(krate) = self.position(name) else { return vec![] };
        let is_within = |arrow: &&Arrow| arrow.from.0 == krate && arrow.to.0 == krate;
        let arrows: Vec<&Arrow> = self.arrows.iter().filter(is_within).collect();
        let mut faults = self.unknown_rooms(krate);
        let circles = graph::circles(&arrows);
        faults.extend(circles.iter().map(|circle| self.show_circle(circle, &arrows)));
        faults.extend(self.upward(&arrows));
        faults
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.crates.iter().position(|tree| tree.name == name)
    }

    /// The files of a circle, and the lines that make it.
    fn show_circle(&self, circle: &[Id], arrows: &[&Arrow]) -> String {
        let names: Vec<String> = circle.iter().map(|&file| self.file(file)).collect();
        let mut text = format!("circle of {}: {}", circle.len(), names.join(" -> "));
        for (&from, &to) in circle.iter().zip(circle.iter().cycle().skip(1)) {
            for arrow in arrows.iter().filter(|arrow| arrow.from == from && arrow.to == to) {
                let _ = write!(text, "\n    {}", self.line(arrow));
            }
        }
        text
    }

    /// Arrows to a higher room, or to one on the same line of the table, room by room.
    fn upward(&self, arrows: &[&Arrow]) -> Vec<String> {
        let mut texts: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for arrow in arrows {
            if let (Some(from), Some(to)) = (self.room(arrow.from), self.room(arrow.to))
                && from != to
                && from.line <= to.line
            {
                let higher = if from.line < to.line { "a higher room" } else { "a room beside it" };
                let title = format!("{from} imports {to}, {higher}");
                let text = texts.entry((from, to)).or_insert_with(|| vec![title]);
                let line = self.line(arrow);
                // A re-exported item has two arrows.
                if !text.contains(&line) {
                    text.push(line);
                }
            }
        }
        texts.into_values().map(|text| text.join("\n    ")).collect()
    }

    /// Rooms without a line in the table, and names in the table without a room.
    fn unknown_rooms(&self, krate: usize) -> Vec<String> {
        let Crate { name, modules } = &self.crates[krate];
        let files: Vec<usize> =
            (0..modules.len()).filter(|&i| modules[i].file_module == i).collect();
        if files.len() == 1 {
            return vec![];
        }
        let Some(order) = self.orders.get(name) else {
            return vec![format!("crate {name} has no order of its rooms: {}", table::REMEDY)];
        };
        let names: Vec<String> = files.iter().map(|&file| name_of(&modules[file].path)).collect();
        let is_missing =
            |&file: &usize| modules[file].path.len() < 2 && self.room((krate, file)).is_none();
        let missing = files.iter().zip(&names).filter(|(file, _)| is_missing(file));
        let missing: Vec<&str> = missing.map(|(_, name)| name.as_str()).collect();
        let rooms = order.iter().flat_map(|(rooms, _)| rooms);
        let gone: Vec<&str> =
            rooms.filter(|room| !names.contains(room)).map(String::as_str).collect();
        let mut faults = vec![];
        if !missing.is_empty() {
            let rooms = missing.join(", ");
            faults.push(format!("not in the table of {name}: {rooms}\n    {}", table::REMEDY));
        }
        if !gone.is_empty() {
            let rooms = gone.join(", ");
            faults.push(format!("in the table of {name} only: {rooms}\n    {}", table::GONE));
        }
        faults
    }

    /// The room of a file, where the table has it.
    fn room(&self, (krate, module): Id) -> Option<Room<'_>> {
        let tree = &self.crates[krate];
        let name = name_of(&tree.modules[module].path);
        let holds = |room: &Room| {
            let rest = name.strip_prefix(room.name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let lines = self.orders.get(&tree.name)?.iter().enumerate();
        let rooms = lines.flat_map(|(line, (rooms, reason))| {
            rooms.iter().map(move |name| Room { line, name, reason })
        });
        rooms.filter(holds).max_by_key(|room| room.name.len())
    }

    fn file(&self, (krate, module): Id) -> String {
        let file = &self.crates[krate].modules[module].file;
        file.strip_prefix(&self.root).unwrap_or(file).display().to_string()
    }

    fn line(&self, arrow: &Arrow) -> String {
        format!("{}:{}: {}", self.file(arrow.from), arrow.line, arrow.text)
    }

    /// The rooms of a crate, highest first, each with the rooms that it imports from and how often.
    fn list(&self, name: &str) -> String {
        let Some(krate) = self.position(name) else { return String::new() };
        // Sorted by the line in the table; other crates, below all rooms, by their names.
        let place = |file: Id| match self.room(file) {
            _ if file.0 != krate => (0, self.crates[file.0].name.clone()),
            Some(room) => (room.line + 1, room.name.to_owned()),
            None => (1, name_of(self.crates[krate].modules[file.1].path.get(..1).unwrap_or(&[]))),
        };
        let mut imports: BTreeMap<_, BTreeMap<_, usize>> = BTreeMap::new();
        for module in &self.crates[krate].modules {
            imports.entry(place((krate, module.file_module))).or_default();
        }
        for arrow in self.arrows.iter().filter(|arrow| arrow.from.0 == krate) {
            let (from, to) = (place(arrow.from), place(arrow.to));
            if from != to {
                *imports.entry(from).or_default().entry(to).or_default() += 1;
            }
        }
        let width = imports.keys().map(|(_, room)| room.len()).max().unwrap_or(0);
        let mut text = name.to_owned();
        for ((_, room), imports) in imports.iter().rev() {
            let counts = imports.iter().rev().map(|((_, room), count)| format!("{room} {count}"));
            let counts = counts.collect::<Vec<_>>().join(", ");
            let line = format!("\n  {room:width$}  {counts}");
            text += line.trim_end();
        }
        text
    }
}

fn name_of(path: &[String]) -> String {
    if path.is_empty() { "crate".into() } else { path.join("::") }
}
