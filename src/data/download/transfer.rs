//! Downloads one archive from one server into a partial file, with retries.

use super::connection::{Connection, ConnectionError, Head};
use super::partial_file::{PartialFile, Source};
use super::retry::{RetryPolicy, sleep};
use crate::format::megabytes;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Task, Unit};
use crate::{Error, Result};

/// A download from one server.
pub(super) struct Download<'a> {
    pub url: &'a str,
    /// A larger download is aborted.
    pub max_bytes: u64,
    pub policy: &'a RetryPolicy,
    pub interrupt: &'a Interrupt,
    pub progress: &'a mut dyn Progress,
    /// Checks whether the partial file is the complete archive, regardless of the size that the server states.
    pub is_complete: &'a dyn Fn(&PartialFile) -> Result<bool>,
    /// Bytes received in all attempts.
    pub received: u64,
}

/// Errors of a download.
pub(super) enum DownloadError {
    /// This server failed; another one may work.
    Server(String),
    /// A disk error or an interrupt.
    Fatal(Error),
}

/// Errors of one attempt.
enum AttemptError {
    /// A retry may succeed, after the delay requested by the server.
    Retryable(String, Option<std::time::Duration>),
    Permanent(DownloadError),
}

impl From<Error> for AttemptError {
    fn from(error: Error) -> Self {
        Self::Permanent(DownloadError::Fatal(error))
    }
}

impl Download<'_> {
    /// Completes the partial file.
    pub fn run(&mut self, part: &mut PartialFile) -> Result<(), DownloadError> {
        let complete = part.source.total.is_none_or(|total| total == part.bytes());
        if part.bytes() > 0 && complete && (self.is_complete)(part).map_err(DownloadError::Fatal)? {
            return Ok(());
        }
        let mut max_received = part.bytes();
        let mut attempts = 0;
        loop {
            let attempt = self.attempt(part);
            self.progress.finish();
            let (problem, retry_after) = match attempt {
                Ok(()) => return Ok(()),
                Err(AttemptError::Permanent(error)) => return Err(error),
                Err(AttemptError::Retryable(problem, retry_after)) => (problem, retry_after),
            };
            if part.bytes() > max_received {
                (max_received, attempts) = (part.bytes(), 0);
            } else if part.bytes() > 0 && (self.is_complete)(part).map_err(DownloadError::Fatal)? {
                // The file is complete; the server stated a wrong length.
                return Ok(());
            }
            attempts += 1;
            if attempts > self.policy.max_retries {
                return Err(DownloadError::Server(format!(
                    "{problem} (given up after {attempts} attempts)"
                )));
            }
            let delay = self.policy.delay(attempts, retry_after);
            self.progress.message(&format!("{problem}; retrying in {} s", delay.as_secs_f64()));
            if !sleep(delay, self.interrupt) {
                return Err(DownloadError::Fatal(interrupted(part)));
            }
        }
    }

    fn attempt(&mut self, part: &mut PartialFile) -> Result<(), AttemptError> {
        let from = part.bytes();
        let tag = part.source.tag.as_deref().filter(|_| part.source.url == self.url);
        let connection = Connection::open(self.url, from, tag, self.policy);
        let head = connection.head(self.interrupt).map_err(|error| attempt_error(error, part))?;
        let Some(total) = self.accept_response(&head, part)? else { return Ok(()) };
        self.progress.start(&Task {
            label: "downloading".into(),
            unit: Unit::Bytes,
            done: part.bytes(),
            total,
        });
        while let Some(bytes) =
            connection.bytes(self.interrupt).map_err(|error| attempt_error(error, part))?
        {
            self.received += bytes.len() as u64;
            self.check_size(part.bytes() + bytes.len() as u64)?;
            part.append(&bytes)?;
            self.progress.advance(bytes.len() as u64);
        }
        match total {
            Some(total) if part.bytes() < total => Err(AttemptError::Retryable(
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

    /// Prepares the partial file for the body of this response. Returns the size of the complete file if
    /// the server states it; `None` if the partial file is already complete.
    fn accept_response(
        &mut self,
        head: &Head,
        part: &mut PartialFile,
    ) -> Result<Option<Option<u64>>, AttemptError> {
        let from = part.bytes();
        let same_server = part.source.url == self.url;
        if head.is_html && matches!(head.status, 200 | 206) {
            return Err(AttemptError::Permanent(DownloadError::Server(
                "sends a web page, not an archive; the network may require a login".into(),
            )));
        }
        let total = match (head.status, head.range) {
            (200, _) => {
                if from > 0 {
                    self.progress.message(&format!(
                        "the server sends the file from the beginning; discarding {}",
                        megabytes(from)
                    ));
                    part.restart()?;
                }
                head.length
            }
            (206, Some(range)) if range.start == Some(from) => {
                let changed = [
                    (range.total.is_some() && part.source.total.is_some())
                        && range.total != part.source.total,
                    same_server && part.source.tag.is_some() && head.tag != part.source.tag,
                ];
                if changed.contains(&true) {
                    part.restart()?;
                    return Err(AttemptError::Retryable(
                        "the file on the server has changed; restarting from the beginning".into(),
                        None,
                    ));
                }
                part.spliced |= from > 0;
                range.total.or(head.length.map(|length| from + length))
            }
            (206, _) => {
                part.restart()?;
                return Err(AttemptError::Retryable(
                    "the server sent a different byte range than requested".into(),
                    None,
                ));
            }
            (416, range) if from > 0 => {
                if range.and_then(|range| range.total) == Some(from) {
                    return Ok(None);
                }
                if (self.is_complete)(part)? {
                    return Ok(None);
                }
                part.restart()?;
                return Err(AttemptError::Retryable(
                    format!("the server has no byte {from}; restarting from the beginning"),
                    None,
                ));
            }
            _ => return Err(status_error(head)),
        };
        self.check_size(total.unwrap_or(0))?;
        part.set_source(Source { url: self.url.into(), tag: head.tag.clone(), total })?;
        Ok(Some(total))
    }

    fn check_size(&self, bytes: u64) -> Result<(), AttemptError> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        Err(AttemptError::Permanent(DownloadError::Server(format!(
            "sends {} or more, but the published archive has at most {}: it is another file",
            megabytes(bytes),
            megabytes(self.max_bytes)
        ))))
    }
}

fn attempt_error(error: ConnectionError, part: &PartialFile) -> AttemptError {
    match error {
        ConnectionError::Retryable(problem) => AttemptError::Retryable(problem, None),
        ConnectionError::Permanent(problem) => {
            AttemptError::Permanent(DownloadError::Server(problem))
        }
        ConnectionError::Interrupted => interrupted(part).into(),
    }
}

pub(super) fn interrupted(part: &PartialFile) -> Error {
    Error::Interrupted {
        saved: format!("{}; the same command resumes from there", part.saved_message()),
    }
}

/// The error for an unsuccessful status.
fn status_error(head: &Head) -> AttemptError {
    let status = &head.status_text;
    let stop = |meaning: &str| {
        AttemptError::Permanent(DownloadError::Server(format!("{status}: {meaning}")))
    };
    match head.status {
        401 | 403 => stop("the server rejects this program; a browser may be accepted"),
        404 | 410 => stop("the file no longer exists"),
        408 | 425 | 429 | 500..=599 => AttemptError::Retryable(
            format!("{status}: the server is temporarily unavailable"),
            head.retry_after,
        ),
        _ => stop("unexpected status"),
    }
}
