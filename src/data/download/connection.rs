//! One HTTP request. A thread reads the response, so that the caller can be interrupted while it waits.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ureq::http::{HeaderMap, header};

use super::retry::RetryPolicy;
use crate::interrupt::Interrupt;

/// Interval between checks of the interrupt.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Some hosts respond with 403 to clients other than browsers.
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// A request in progress. Its thread ends with the connection, at the latest after
/// [`RetryPolicy::read_timeout`] without data.
pub(super) struct Connection(Receiver<Result<ResponsePart, ConnectionError>>);

enum ResponsePart {
    Head(Head),
    Bytes(Vec<u8>),
    End,
}

/// The status and the relevant headers of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub status: u16,
    /// For example, "403 Forbidden".
    pub status_text: String,
    /// Whether the body is HTML.
    pub is_html: bool,
    /// Content-Length, in bytes.
    pub length: Option<u64>,
    pub range: Option<Range>,
    /// The ETag, unless it is a weak one.
    pub tag: Option<String>,
    pub retry_after: Option<Duration>,
}

/// `Content-Range: bytes 5-9/10`, or `bytes */10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub start: Option<u64>,
    pub total: Option<u64>,
}

/// Errors of a [`Connection`].
#[derive(Debug)]
pub(super) enum ConnectionError {
    /// A retry may succeed.
    Retryable(String),
    /// A retry will fail too.
    Permanent(String),
    /// The user requested a stop.
    Interrupted,
}

impl Connection {
    /// Requests the file from byte `from` on. With a tag, requests the whole file if its tag has changed
    /// (`If-Range`).
    pub fn open(url: &str, from: u64, tag: Option<&str>, policy: &RetryPolicy) -> Self {
        // A small buffer, so that the network does not wait for the disk.
        let (send, receive) = sync_channel(16);
        let (url, tag, policy) = (url.to_owned(), tag.map(str::to_owned), policy.clone());
        let task = move || {
            // If sending fails, the receiver has been dropped.
            if let Err(error) = perform(&url, from, tag.as_deref(), &policy, &send) {
                let _ = send.send(Err(error));
            }
        };
        // If no thread can be created, the receiver reports a closed connection.
        let _ = std::thread::Builder::new().name("download".into()).spawn(task);
        Self(receive)
    }

    pub fn head(&self, interrupt: &Interrupt) -> Result<Head, ConnectionError> {
        match self.next(interrupt)? {
            ResponsePart::Head(head) => Ok(head),
            _ => Err(ConnectionError::Retryable("the response has no head".into())),
        }
    }

    /// The next bytes of the body; `None` at the end.
    pub fn bytes(&self, interrupt: &Interrupt) -> Result<Option<Vec<u8>>, ConnectionError> {
        match self.next(interrupt)? {
            ResponsePart::Bytes(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    fn next(&self, interrupt: &Interrupt) -> Result<ResponsePart, ConnectionError> {
        loop {
            if interrupt.requested() {
                return Err(ConnectionError::Interrupted);
            }
            match self.0.recv_timeout(POLL_INTERVAL) {
                Ok(part) => return part,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ConnectionError::Retryable(
                        "the connection ended unexpectedly".into(),
                    ));
                }
            }
        }
    }
}

fn perform(
    url: &str,
    from: u64,
    tag: Option<&str>,
    policy: &RetryPolicy,
    send: &SyncSender<Result<ResponsePart, ConnectionError>>,
) -> Result<(), ConnectionError> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(policy.max_redirects)
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .timeout_resolve(Some(policy.connect_timeout))
        .timeout_connect(Some(policy.connect_timeout))
        .timeout_recv_response(Some(policy.read_timeout))
        .timeout_per_read(Some(policy.read_timeout))
        .timeout_per_write(Some(policy.read_timeout))
        .build()
        .new_agent();
    let mut request = agent.get(url);
    if from > 0 {
        request = request.header(header::RANGE, format!("bytes={from}-"));
        if let Some(tag) = tag {
            request = request.header(header::IF_RANGE, tag);
        }
    }
    let response = request.call().map_err(|error| connection_error(error, policy))?;
    let (parts, body) = response.into_parts();
    let head = Head {
        status: parts.status.as_u16(),
        status_text: parts.status.to_string(),
        is_html: text(&parts.headers, header::CONTENT_TYPE)
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html")),
        length: number(&parts.headers, header::CONTENT_LENGTH),
        range: text(&parts.headers, header::CONTENT_RANGE).and_then(Range::parse),
        tag: text(&parts.headers, header::ETAG).filter(|tag| tag.starts_with('"')).map(Into::into),
        retry_after: number(&parts.headers, header::RETRY_AFTER).map(Duration::from_secs),
    };
    if send.send(Ok(ResponsePart::Head(head))).is_err() {
        return Ok(());
    }
    let mut body = body.into_reader();
    loop {
        let mut part = vec![0; 1 << 16];
        let n = body.read(&mut part).map_err(|error| connection_error(error.into(), policy))?;
        part.truncate(n);
        let part = if n == 0 { ResponsePart::End } else { ResponsePart::Bytes(part) };
        if send.send(Ok(part)).is_err() || n == 0 {
            return Ok(());
        }
    }
}

fn connection_error(error: ureq::Error, policy: &RetryPolicy) -> ConnectionError {
    use ureq::Error::{
        BadUri, HostNotFound, Http, Io, RedirectFailed, Rustls, Timeout, Tls, TooManyRedirects,
    };
    let read_timeout = policy.read_timeout.as_secs_f64();
    match error {
        Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => ConnectionError::Retryable(
            format!("no connection within {} s", policy.connect_timeout.as_secs_f64()),
        ),
        Timeout(_) => {
            ConnectionError::Retryable(format!("the server sent nothing for {read_timeout} s"))
        }
        Io(error) => match error.kind() {
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
                ConnectionError::Retryable(format!("the server sent nothing for {read_timeout} s"))
            }
            // These two have no error kind.
            _ if error.to_string().starts_with("failed to lookup address") => no_such_host(),
            _ if error.to_string().starts_with("invalid peer certificate") => {
                ConnectionError::Permanent(format!(
                    "{error}: the server, or a proxy in between, has the wrong certificate"
                ))
            }
            _ => ConnectionError::Retryable(format!("the connection broke: {error}")),
        },
        HostNotFound => no_such_host(),
        TooManyRedirects => ConnectionError::Permanent(format!(
            "redirected more than {} times",
            policy.max_redirects
        )),
        error @ (BadUri(_) | Http(_) | RedirectFailed | Rustls(_) | Tls(_)) => {
            ConnectionError::Permanent(error.to_string())
        }
        error => ConnectionError::Retryable(error.to_string()),
    }
}

fn no_such_host() -> ConnectionError {
    ConnectionError::Permanent(
        "the host name cannot be looked up; check the network connection, or set HTTPS_PROXY if you \
         need a proxy"
            .into(),
    )
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn number(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let start =
            range.split_once('-').map(|(start, _)| start.trim().parse()).transpose().ok()?;
        Some(Self { start, total: total.trim().parse().ok() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let range = |start, total| Some(Range { start, total });
        assert_eq!(Range::parse("bytes 5-9/10"), range(Some(5), Some(10)));
        assert_eq!(Range::parse("bytes 5-9/*"), range(Some(5), None));
        assert_eq!(Range::parse("bytes */10"), range(None, Some(10)));
        for bad in ["", "bytes", "bytes 5/", "5-9/10", "bytes x-9/10", "items 1-2/3"] {
            assert!(Range::parse(bad).is_none_or(|range| range.start.is_none()), "{bad}");
        }
    }
}
