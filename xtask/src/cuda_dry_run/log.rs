//! The log that the stand-ins write: a line an event (`xtask/cuda-stand-ins/README.md`).

use std::path::Path;

use crate::error::{Error, Result};

/// What a GPU was asked to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Launch,
    Product,
    Copy,
    Memset,
    Allocate,
    Free,
    Synchronize,
    /// An event that is recorded or waited for in a stream: the host does not wait.
    Event,
    /// A module of kernels that is loaded.
    Load,
    /// A function that the stand-ins do not know.
    Unknown,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub kind: Kind,
    /// The kernel, the product's function and shape, or what is copied where.
    pub name: String,
    /// `key=value`, separated by blanks.
    details: String,
}

impl Event {
    /// A detail by its key.
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.details
            .split(' ')
            .find_map(|detail| detail.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')))
    }

    /// Whether the detail of this key has this value.
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
    // Names of kernels are bytes of a foreign library's.
    let bytes = fs_err::read(path)?;
    parse(&String::from_utf8_lossy(&bytes)).map_err(|line| {
        Error::machine(
            format!("{}: this line is no event of the stand-ins: {line:?}", path.display()),
            "run it again; if it stays, report this",
        )
    })
}

/// The events of a log, or the first line that is none.
pub fn parse(text: &str) -> Result<Vec<Event>, String> {
    text.lines().map(|line| event(line).ok_or_else(|| line.to_owned())).collect()
}

fn event(line: &str) -> Option<Event> {
    let mut columns = line.split('\t');
    let (time, thread) = (columns.next()?, columns.next()?);
    time.parse::<u64>().ok()?;
    thread.parse::<u64>().ok()?;
    let kind = match columns.next()? {
        "LAUNCH" => Kind::Launch,
        "PRODUCT" => Kind::Product,
        "COPY" => Kind::Copy,
        "MEMSET" => Kind::Memset,
        "ALLOCATE" => Kind::Allocate,
        "FREE" => Kind::Free,
        "SYNCHRONIZE" => Kind::Synchronize,
        "EVENT" => Kind::Event,
        "LOAD" => Kind::Load,
        "UNKNOWN" => Kind::Unknown,
        _ => return None,
    };
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
