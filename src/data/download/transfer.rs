//! Downloads a file from one server into a partial file, with retries.

use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::{HeaderName, Response, header};

use super::failure::Failure;
use super::fetch::Fetch;
use super::partial_file::{PartialFile, Source};
use super::request::{POLL_INTERVAL, bytes, request};
use super::verify::{self, Checksums};
use crate::Result;
use crate::format::megabytes;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Task, Unit};

/// A file on a server, and what is known of it.
#[derive(Debug)]
pub(super) struct Remote<'a> {
    pub url: &'a str,
    /// For the host of the URL, and for no host that it redirects to.
    pub token: Option<&'a str>,
    pub max_bytes: u64,
    /// Published checksums, if any.
    pub published: Checksums,
}

impl Remote<'_> {
    /// Whether the partial file is complete. Without published checksums, its size tells, if it is from
    /// this URL.
    pub fn is_complete(&self, part: &PartialFile, interrupt: &Interrupt) -> Result<bool> {
        if self.published.is_empty() {
            let Source { url, total, .. } = &part.source;
            return Ok(*total == Some(part.bytes()) && url == self.url);
        }
        Ok(self.published == verify::checksums(part.path(), &self.published, interrupt)?)
    }

    fn check_size(&self, bytes: u64) -> Result<(), Failure> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        Err(Failure::permanent(format!(
            "sends {} or more, but the published file has at most {}: it is another file",
            megabytes(bytes),
            megabytes(self.max_bytes)
        )))
    }
}

impl Fetch {
    /// Completes the partial file from one server.
    pub(super) fn transfer(
        &self,
        remote: &Remote<'_>,
        part: &mut PartialFile,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let (mut most_bytes, mut attempts) = (part.bytes(), 0);
        loop {
            // A server may state a wrong length, and an earlier process may have completed the file.
            if part.bytes() > 0 && remote.is_complete(part, &self.interrupt)? {
                return Ok(());
            }
            let attempt = self.attempt(remote, part, progress);
            progress.finish();
            let Err(Failure::Temporary(problem, retry_after)) = attempt else { return attempt };
            if part.bytes() > most_bytes {
                (most_bytes, attempts) = (part.bytes(), 0);
            }
            attempts += 1;
            if attempts > self.retry_policy.max_retries {
                let problem = format!("{problem} (given up after {attempts} attempts)");
                return Err(Failure::Permanent(problem));
            }
            let delay = self.retry_policy.delay(attempts, retry_after);
            progress.message(&format!("{problem}; retrying in {} s", delay.as_secs_f64()));
            let end = Instant::now() + delay;
            while Instant::now() < end {
                self.interrupt.check(String::new)?;
                std::thread::sleep(POLL_INTERVAL.min(delay));
            }
        }
    }

    fn attempt(
        &self,
        remote: &Remote<'_>,
        part: &mut PartialFile,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let Remote { url, token, .. } = *remote;
        let tag = part.source.tag.as_deref().filter(|_| part.source.url == url);
        let response = request(url, token, part.bytes(), tag, self.retry_policy.timeout)?;
        let response = response.next(&self.interrupt)?;
        let response = response.ok_or_else(|| Failure::temporary("there is no response"))?;
        let total = accept(remote, &response, part, progress)?;
        let label = "downloading".into();
        progress.start(&Task { label, unit: Unit::Bytes, done: part.bytes(), total });
        let body = bytes(response.into_body());
        while let Some(bytes) = body.next(&self.interrupt)? {
            remote.check_size(part.bytes() + bytes.len() as u64)?;
            part.append(&bytes)?;
            progress.advance(bytes.len() as u64);
        }
        match total.filter(|total| part.bytes() < *total) {
            None => Ok(()),
            Some(total) => {
                let (bytes, total) = (megabytes(part.bytes()), megabytes(total));
                Err(Failure::temporary(format!("the connection ended after {bytes} of {total}")))
            }
        }
    }
}

/// Prepares the partial file for the body of a response. Returns the size of the complete file, if the
/// server states it.
fn accept(
    remote: &Remote<'_>,
    response: &Response<Body>,
    part: &mut PartialFile,
    progress: &mut dyn Progress,
) -> Result<Option<u64>, Failure> {
    let from = part.bytes();
    let length = response.body().content_length();
    // A weak tag does not promise equal bytes.
    let tag = text(response, header::ETAG).filter(|tag| tag.starts_with('"'));
    let status = response.status();
    if status.is_success() && response.body().mime_type() == Some("text/html") {
        return Err(Failure::permanent(
            "sends a web page, not the file; the network may require a login",
        ));
    }
    let total = match status.as_u16() {
        200 => {
            if from > 0 {
                progress.message(&format!(
                    "the server sends the file from the beginning; discarding {}",
                    megabytes(from)
                ));
                part.restart()?;
            }
            length
        }
        206 => {
            let (start, total) = text(response, header::CONTENT_RANGE)
                .and_then(content_range)
                .filter(|(start, _)| *start == from)
                .ok_or("the server sent a different byte range than requested")
                .or_else(|problem| restart(part, problem))?;
            let known = &part.source;
            let resized = total.is_some() && known.total.is_some() && total != known.total;
            let retagged =
                known.url == remote.url && known.tag.is_some() && tag != known.tag.as_deref();
            if resized || retagged {
                restart(part, "the file on the server has changed")?;
            }
            part.spliced |= start > 0;
            total.or(length.map(|length| from + length))
        }
        416 if from > 0 => restart(part, &format!("the server has no byte {from}"))?,
        401 | 403 if remote.token.is_some() => {
            return Err(Failure::permanent(format!(
                "{status}: the server rejects HF_TOKEN; set a valid one, or none"
            )));
        }
        401 | 403 => {
            return Err(Failure::permanent(format!(
                "{status}: the server rejects this program; a browser may be accepted"
            )));
        }
        404 | 410 => {
            return Err(Failure::permanent(format!("{status}: the file no longer exists")));
        }
        408 | 425 | 429 | 500..=599 => {
            let seconds = text(response, header::RETRY_AFTER).and_then(|text| text.parse().ok());
            return Err(Failure::Temporary(
                format!("{status}: the server is temporarily unavailable"),
                Duration::from_secs(seconds.unwrap_or_default()),
            ));
        }
        _ => return Err(Failure::permanent(format!("{status}: unexpected status"))),
    };
    remote.check_size(total.unwrap_or(0))?;
    part.set_source(Source { url: remote.url.into(), tag: tag.map(Into::into), total })?;
    Ok(total)
}

/// Discards what was received, and fails for this attempt.
fn restart<T>(part: &mut PartialFile, problem: &str) -> Result<T, Failure> {
    part.restart()?;
    Err(Failure::temporary(format!("{problem}; restarting from the beginning")))
}

fn text(response: &Response<Body>, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok().map(str::trim)
}

/// The first byte and the total size in `bytes 5-9/10`. The size may be `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes 5/", "5-9/10", "bytes x-9/10", "items 1-2/3", "bytes */10"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
