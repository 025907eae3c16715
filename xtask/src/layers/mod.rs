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
use table::Order;
use tree::Crate;

use crate::error::Result;

/// The crates of the workspace with all their arrows.
pub struct Layers {
    root: PathBuf,
    crates: Vec<Crate>,
    arrows: BTreeSet<Arrow>,
    orders: &'static [Order],
}

/// A room of the table, by the number of its line.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Room {
    line: usize,
    name: &'static str,
    reason: &'static str,
}

impl Display for Room {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

impl Layers {
    /// Reads libraries and programs: the name of each and its root file.
    pub fn read(root: &Path, targets: &[(String, PathBuf)]) -> Result<Self> {
        let crates: Vec<Crate> =
            targets.iter().map(|(name, file)| Crate::read(name, file)).collect::<Result<_>>()?;
        let arrows = graph::arrows(&crates);
        Ok(Self { root: root.into(), crates, arrows, orders: table::ORDERS })
    }

    /// What is wrong with one crate, a paragraph each. `all`: every circle, not only those that share
    /// no line with a shorter one.
    pub fn faults(&self, name: &str, all: bool) -> Vec<String> {
        let Some(krate) = self.crates.iter().position(|tree| tree.name == name) else {
            return vec![];
        };
        let arrows: Vec<&Arrow> = self.arrows.iter().filter(|a| is_within(a, krate)).collect();
        let mut faults = self.unknown_rooms(krate);
        let (mut shown, mut hidden) = (BTreeSet::new(), 0);
        for circle in graph::circles(&arrows) {
            let steps = (0..circle.len()).map(|i| (circle[i], circle[(i + 1) % circle.len()]));
            let steps: Vec<(Id, Id)> = steps.collect();
            if all || !steps.iter().any(|step| shown.contains(step)) {
                faults.push(self.show_circle(&steps, &arrows));
                shown.extend(steps);
            } else {
                hidden += 1;
            }
        }
        if hidden > 0 {
            faults.push(format!("{hidden} longer circles share a line with these: see --all"));
        }
        faults.extend(self.upward(&arrows));
        faults
    }

    /// The files of a circle, and the lines that make it.
    fn show_circle(&self, steps: &[(Id, Id)], arrows: &[&Arrow]) -> String {
        let names: Vec<String> = steps.iter().map(|&(from, _)| self.file(from)).collect();
        let mut text = format!("circle of {}: {}", steps.len(), names.join(" -> "));
        for &(from, to) in steps {
            for arrow in arrows.iter().filter(|arrow| arrow.from == from && arrow.to == to) {
                let _ = write!(text, "\n    {}", self.line(arrow));
            }
        }
        text
    }

    /// Arrows to a higher room, or to one on the same line of the table, room by room.
    fn upward(&self, arrows: &[&Arrow]) -> Vec<String> {
        let mut lines: BTreeMap<_, BTreeSet<(Id, usize, String)>> = BTreeMap::new();
        for arrow in arrows {
            if let (Some(from), Some(to)) = (self.room(arrow.from), self.room(arrow.to))
                && from != to
                && from.line <= to.line
            {
                let line = (arrow.from, arrow.line, self.line(arrow));
                lines.entry((from, to)).or_default().insert(line);
            }
        }
        let show = |((from, to), lines): ((Room, Room), BTreeSet<_>)| {
            let higher = if from.line < to.line { "a higher room" } else { "a room beside it" };
            let mut text = format!("{from} imports {to}, {higher}");
            for (_, _, line) in lines {
                let _ = write!(text, "\n    {line}");
            }
            text
        };
        lines.into_iter().map(show).collect()
    }

    /// Rooms without a line in the table, and names in the table without a room.
    fn unknown_rooms(&self, krate: usize) -> Vec<String> {
        let Crate { name, modules } = &self.crates[krate];
        let files: Vec<usize> =
            (0..modules.len()).filter(|&i| modules[i].file_module == i).collect();
        if files.len() == 1 {
            return vec![];
        }
        let Some(order) = self.order(krate) else {
            return vec![format!("crate {name} has no order of its rooms: {}", table::REMEDY)];
        };
        let missing = files
            .iter()
            .filter(|&&file| modules[file].path.len() < 2 && self.room((krate, file)).is_none());
        let missing: Vec<String> = missing.map(|&file| name_of(&modules[file].path)).collect();
        let gone = order
            .lines
            .iter()
            .flat_map(|line| line.rooms)
            .copied()
            .filter(|room| !files.iter().any(|&file| name_of(&modules[file].path) == *room));
        let gone: Vec<&str> = gone.collect();
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

    fn order(&self, krate: usize) -> Option<&'static Order> {
        self.orders.iter().find(|order| order.name == self.crates[krate].name)
    }

    /// The room of a file, where the table has it.
    fn room(&self, (krate, module): Id) -> Option<Room> {
        let name = name_of(&self.crates[krate].modules[module].path);
        let holds = |room: &Room| {
            let rest = name.strip_prefix(room.name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let lines = self.order(krate)?.lines.iter().enumerate();
        let rooms = lines.flat_map(|(line, &table::Line { rooms, reason })| {
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
    pub fn list(&self, name: &str) -> String {
        let Some(krate) = self.crates.iter().position(|tree| tree.name == name) else {
            return String::new();
        };
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

fn is_within(arrow: &Arrow, krate: usize) -> bool {
    arrow.from.0 == krate && arrow.to.0 == krate
}

fn name_of(path: &[String]) -> String {
    if path.is_empty() { "crate".into() } else { path.join("::") }
}
