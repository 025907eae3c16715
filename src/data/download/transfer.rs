//! One archive from one server into a part, through all that networks do.

use super::connection::{Broken, Connection, Head};
use super::partial_file::{Origin, Part};
use super::retry::{Patience, sleep};
use crate::format::megabytes;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Task, Unit};
use crate::{Error, Result};

/// What a download needs beside the part.
pub(super) struct Download<'a> {
    pub url: &'a str,
    /// No more is taken from a server.
    pub max_bytes: u64,
    pub patience: &'a Patience,
    pub interrupt: &'a Interrupt,
    pub progress: &'a mut dyn Progress,
    /// Whether a part is the archive, whatever the server says of its size.
    pub whole: &'a dyn Fn(&Part) -> Result<bool>,
    /// Bytes received, over all attempts.
    pub received: u64,
}

/// Why this server, or all, cannot be used.
pub(super) enum Stop {
    /// Another one may.
    Server(String),
    /// The disk, or the user.
    All(Error),
}

/// How an attempt ended that did not bring the file's end.
enum Trouble {
    /// To be tried again, after as long as the server asks for.
    Again(String, Option<std::time::Duration>),
    Stop(Stop),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Stop(Stop::All(error))
    }
}

impl Download<'_> {
    /// Brings the part to the end that the server names.
    pub fn run(&mut self, part: &mut Part) -> Result<(), Stop> {
        let complete = part.origin.total.is_none_or(|total| total == part.bytes());
        if part.bytes() > 0 && complete && (self.whole)(part).map_err(Stop::All)? {
            return Ok(());
        }
        let mut most = part.bytes();
        let mut tries = 0;
        loop {
            let attempt = self.attempt(part);
            self.progress.finish();
            let (problem, asked) = match attempt {
                Ok(()) => return Ok(()),
                Err(Trouble::Stop(stop)) => return Err(stop),
                Err(Trouble::Again(problem, asked)) => (problem, asked),
            };
            if part.bytes() > most {
                (most, tries) = (part.bytes(), 0);
            } else if part.bytes() > 0 && (self.whole)(part).map_err(Stop::All)? {
                // The server was wrong about the length, and the file is here.
                return Ok(());
            }
            tries += 1;
            if tries > self.patience.retries {
                return Err(Stop::Server(format!("{problem} (given up after {tries} attempts)")));
            }
            let pause = self.patience.pause(tries, asked);
            self.progress.message(&format!("{problem}; again in {} s", pause.as_secs_f64()));
            if !sleep(pause, self.interrupt) {
                return Err(Stop::All(interrupted(part)));
            }
        }
    }

    fn attempt(&mut self, part: &mut Part) -> Result<(), Trouble> {
        let from = part.bytes();
        let tag = part.origin.tag.as_deref().filter(|_| part.origin.url == self.url);
        let connection = Connection::open(self.url, from, tag, self.patience);
        let head = connection.head(self.interrupt).map_err(|broken| trouble(broken, part))?;
        let Some(total) = self.agree(&head, part)? else { return Ok(()) };
        self.progress.start(&Task {
            label: "downloading".into(),
            unit: Unit::Bytes,
            done: part.bytes(),
            total,
        });
        while let Some(bytes) =
            connection.bytes(self.interrupt).map_err(|broken| trouble(broken, part))?
        {
            self.received += bytes.len() as u64;
            self.fits(part.bytes() + bytes.len() as u64)?;
            part.add(&bytes)?;
            self.progress.advance(bytes.len() as u64);
        }
        match total {
            Some(total) if part.bytes() < total => Err(Trouble::Again(
                format!(
                    "the connection ended after {} of {}",
                    megabytes(part.bytes()),
                    megabytes(total)
                ),
                None,
            )),
            _ => Ok(()),
        }
    }

    /// Makes the part ready for the body of this answer. Gives the size of the whole file if the
    /// server says it; `None` where the part is complete already.
    fn agree(&mut self, head: &Head, part: &mut Part) -> Result<Option<Option<u64>>, Trouble> {
        let from = part.bytes();
        let same_server = part.origin.url == self.url;
        if head.page && matches!(head.status, 200 | 206) {
            return Err(Trouble::Stop(Stop::Server(
                "sends a web page, not an archive; a network that wants you to log in, perhaps"
                    .into(),
            )));
        }
        let total = match (head.status, head.range) {
            (200, _) => {
                if from > 0 {
                    self.progress.message(&format!(
                        "the server sends the file from its beginning; {} are given up",
                        megabytes(from)
                    ));
                    part.begin_anew()?;
                }
                head.length
            }
            (206, Some(range)) if range.start == Some(from) => {
                let changed = [
                    (range.total.is_some() && part.origin.total.is_some())
                        && range.total != part.origin.total,
                    same_server && part.origin.tag.is_some() && head.tag != part.origin.tag,
                ];
                if changed.contains(&true) {
                    part.begin_anew()?;
                    return Err(Trouble::Again(
                        "the file on the server is another one now; from its beginning".into(),
                        None,
                    ));
                }
                part.pieced |= from > 0;
                range.total.or(head.length.map(|length| from + length))
            }
            (206, _) => {
                part.begin_anew()?;
                return Err(Trouble::Again(
                    "the server sent other bytes than asked for".into(),
                    None,
                ));
            }
            (416, range) if from > 0 => {
                if range.and_then(|range| range.total) == Some(from) {
                    return Ok(None);
                }
                if (self.whole)(part)? {
                    return Ok(None);
                }
                part.begin_anew()?;
                return Err(Trouble::Again(
                    format!("the server has no byte {from}: from the beginning"),
                    None,
                ));
            }
            _ => return Err(refused(head)),
        };
        self.fits(total.unwrap_or(0))?;
        part.comes_from(Origin { url: self.url.into(), tag: head.tag.clone(), total })?;
        Ok(Some(total))
    }

    fn fits(&self, bytes: u64) -> Result<(), Trouble> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        Err(Trouble::Stop(Stop::Server(format!(
            "sends {} or more, while the published archive has less than {}: it is another file",
            megabytes(bytes),
            megabytes(self.max_bytes)
        ))))
    }
}

fn trouble(broken: Broken, part: &Part) -> Trouble {
    match broken {
        Broken::Again(problem) => Trouble::Again(problem, None),
        Broken::Never(problem) => Trouble::Stop(Stop::Server(problem)),
        Broken::Interrupted => interrupted(part).into(),
    }
}

pub(super) fn interrupted(part: &Part) -> Error {
    Error::Interrupted { saved: format!("{}; the same command goes on from there", part.kept()) }
}

/// What an answer without the file means.
fn refused(head: &Head) -> Trouble {
    let phrase = &head.phrase;
    let stop = |meaning: &str| Trouble::Stop(Stop::Server(format!("{phrase}: {meaning}")));
    match head.status {
        401 | 403 => stop("the host does not let this program in; a browser may be let in"),
        404 | 410 => stop("the file is not there any more"),
        408 | 425 | 429 | 500..=599 => Trouble::Again(
            format!("{phrase}: the server cannot answer at the moment"),
            head.retry_after,
        ),
        _ => stop("this is not the file"),
    }
}
