//! The log of the stand-ins, one event a line (`xtask/cuda-stand-ins/README.md`).

use std::path::Path;

use clap::ValueEnum;

use crate::error::{Error, Result};

/// Written in capitals in the log.
#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Kind {
    Launch,
    Product,
    Copy,
    Memset,
    Allocate,
    Free,
    Synchronize,
    /// A stream records an event or waits for one; the host does not wait.
    Event,
    /// A module of kernels is loaded.
    Load,
    /// A function that the stand-ins do not define.
    Unknown,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub kind: Kind,
    /// The kernel, the product's function and shape, or the copy's direction.
    pub name: String,
    /// `key=value`, separated by blanks.
    details: String,
}

impl Event {
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.details
            .split(' ')
            .find_map(|detail| detail.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')))
    }

    pub fn has(&self, key: &str, value: &str) -> bool {
        self.detail(key) == Some(value)
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.kind {
            Kind::Allocate => "allocation of ",
            Kind::Free => "freeing of ",
            Kind::Copy => "copy ",
            Kind::Unknown => "unknown function ",
            _ => "",
        })?;
        f.write_str(&self.name)?;
        match self.details.trim() {
            "" => Ok(()),
            details => write!(f, ", {details}"),
        }
    }
}

pub fn read(path: &Path) -> Result<Vec<Event>> {
    // Kernel names come from other libraries and may not be UTF-8.
    let bytes = fs_err::read(path)?;
    parse(&String::from_utf8_lossy(&bytes)).map_err(|line| {
        Error::machine(
            format!("{}: this line is not an event: {line:?}", path.display()),
            "run it again; if it fails again, report this",
        )
    })
}

/// The events of a log, or the first line that is not one.
pub fn parse(text: &str) -> Result<Vec<Event>, String> {
    text.lines().map(|line| event(line).ok_or_else(|| line.to_owned())).collect()
}

fn event(line: &str) -> Option<Event> {
    let mut columns = line.split('\t');
    let (time, thread) = (columns.next()?, columns.next()?);
    time.parse::<u64>().ok()?;
    thread.parse::<u64>().ok()?;
    let kind = Kind::from_str(columns.next()?, false).ok()?;
    let (name, details) = (columns.next()?.into(), columns.next()?.into());
    columns.next().is_none().then_some(Event { kind, name, details })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_kind_a_name_and_details() {
        let log = "12\t7\tCOPY\thost to device\tbytes=96 memory=pinned stream=(nil)\n\
                   13\t7\tLAUNCH\tvoid f<float, 4>(int)\tby=runtime grid=1x1x1\n\
                   14\t7\tSYNCHRONIZE\tcudaStreamSynchronize\t\n";
        let events = parse(log).unwrap();
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Copy, Kind::Launch, Kind::Synchronize]);
        assert_eq!(events[1].name, "void f<float, 4>(int)");
        assert_eq!(events[0].detail("bytes"), Some("96"));
        assert!(events[0].has("memory", "pinned") && !events[0].has("memory", "pageable"));
        assert_eq!(events[0].detail("byte"), None);
        assert_eq!(events[2].detail("bytes"), None);
    }

    #[test]
    fn a_line_that_is_cut_off_is_told() {
        for line in
            ["12\t7\tCOPY\thost", "12\t7\tJUMP\ta\t", "x\t7\tCOPY\ta\t", "", "1\t2\tCOPY\ta\tb\tc"]
        {
            assert_eq!(parse(&format!("1\t2\tLOAD\tmodule\t\n{line}\n")), Err(line.to_owned()));
        }
    }
}
