//! One request and its answer, read by a thread of its own, so that whoever waits for bytes can
//! stop waiting at any moment.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ureq::http::{HeaderMap, header};

use super::retry::Patience;
use crate::interrupt::Interrupt;

/// Between two looks at the interrupt.
const LOOK: Duration = Duration::from_millis(50);

/// Some hosts answer 403 to whatever does not look like a browser.
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// A request under way. The thread ends with the connection, at the latest once the server has been
/// silent for as long as [`Patience::silence`].
pub(super) struct Connection(Receiver<Result<Piece, Broken>>);

enum Piece {
    Head(Head),
    Bytes(Vec<u8>),
    End,
}

/// The status line and the headers that matter.
#[derive(Debug)]
pub(super) struct Head {
    pub status: u16,
    /// "403 Forbidden".
    pub phrase: String,
    /// A page for people, whatever was asked for.
    pub page: bool,
    /// Bytes of the body, where the server says.
    pub length: Option<u64>,
    pub range: Option<Range>,
    /// The tag, where it stands for the very bytes: not a weak one.
    pub tag: Option<String>,
    pub retry_after: Option<Duration>,
}

/// `Content-Range: bytes 5-9/10`, or `bytes */10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub start: Option<u64>,
    pub total: Option<u64>,
}

/// Why there is no more to come.
#[derive(Debug)]
pub(super) enum Broken {
    /// May go better another time.
    Again(String),
    /// Will not.
    Never(String),
    /// The user wants to stop.
    Interrupted,
}

impl Connection {
    /// Asks for the file from byte `from` on; with a tag, only if it is still the file of that tag,
    /// else for the whole of it.
    pub fn open(url: &str, from: u64, tag: Option<&str>, patience: &Patience) -> Self {
        // A few pieces ahead, so that the network does not wait for the disk.
        let (send, receive) = sync_channel(16);
        let (url, tag, patience) = (url.to_owned(), tag.map(str::to_owned), patience.clone());
        let work = move || {
            // A receiver that has gone away wants no more; there is nobody to tell.
            if let Err(broken) = answer(&url, from, tag.as_deref(), &patience, &send) {
                let _ = send.send(Err(broken));
            }
        };
        // Where no thread can be had, the receiver sees a sender that has gone.
        let _ = std::thread::Builder::new().name("download".into()).spawn(work);
        Self(receive)
    }

    pub fn head(&self, interrupt: &Interrupt) -> Result<Head, Broken> {
        match self.next(interrupt)? {
            Piece::Head(head) => Ok(head),
            _ => Err(Broken::Again("the answer has no head".into())),
        }
    }

    /// The next bytes, `None` at the end.
    pub fn bytes(&self, interrupt: &Interrupt) -> Result<Option<Vec<u8>>, Broken> {
        match self.next(interrupt)? {
            Piece::Bytes(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    fn next(&self, interrupt: &Interrupt) -> Result<Piece, Broken> {
        loop {
            if interrupt.requested() {
                return Err(Broken::Interrupted);
            }
            match self.0.recv_timeout(LOOK) {
                Ok(piece) => return piece,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Broken::Again("the connection ended unexpectedly".into()));
                }
            }
        }
    }
}

fn answer(
    url: &str,
    from: u64,
    tag: Option<&str>,
    patience: &Patience,
    send: &SyncSender<Result<Piece, Broken>>,
) -> Result<(), Broken> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(patience.redirects)
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.silence))
        .timeout_per_read(Some(patience.silence))
        .timeout_per_write(Some(patience.silence))
        .build()
        .new_agent();
    let mut request = agent.get(url);
    if from > 0 {
        request = request.header(header::RANGE, format!("bytes={from}-"));
        if let Some(tag) = tag {
            request = request.header(header::IF_RANGE, tag);
        }
    }
    let response = request.call().map_err(|error| broken(error, patience))?;
    let (parts, body) = response.into_parts();
    let head = Head {
        status: parts.status.as_u16(),
        phrase: parts.status.to_string(),
        page: text(&parts.headers, header::CONTENT_TYPE)
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html")),
        length: number(&parts.headers, header::CONTENT_LENGTH),
        range: text(&parts.headers, header::CONTENT_RANGE).and_then(Range::parse),
        tag: text(&parts.headers, header::ETAG).filter(|tag| tag.starts_with('"')).map(Into::into),
        retry_after: number(&parts.headers, header::RETRY_AFTER).map(Duration::from_secs),
    };
    if send.send(Ok(Piece::Head(head))).is_err() {
        return Ok(());
    }
    let mut body = body.into_reader();
    loop {
        let mut piece = vec![0; 1 << 16];
        let n = body.read(&mut piece).map_err(|error| broken(error.into(), patience))?;
        piece.truncate(n);
        let piece = if n == 0 { Piece::End } else { Piece::Bytes(piece) };
        if send.send(Ok(piece)).is_err() || n == 0 {
            return Ok(());
        }
    }
}

fn broken(error: ureq::Error, patience: &Patience) -> Broken {
    use ureq::Error::{
        BadUri, HostNotFound, Http, Io, RedirectFailed, Rustls, Timeout, Tls, TooManyRedirects,
    };
    let silence = patience.silence.as_secs_f64();
    match error {
        Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            Broken::Again(format!("no connection within {} s", patience.connect.as_secs_f64()))
        }
        Timeout(_) => Broken::Again(format!("the server said nothing for {silence} s")),
        Io(error) => match error.kind() {
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
                Broken::Again(format!("the server said nothing for {silence} s"))
            }
            // There are no kinds for these two.
            _ if error.to_string().starts_with("failed to lookup address") => no_such_host(),
            _ if error.to_string().starts_with("invalid peer certificate") => Broken::Never(
                format!("{error}: the server, or a network between, is not who it says it is"),
            ),
            _ => Broken::Again(format!("the connection broke: {error}")),
        },
        HostNotFound => no_such_host(),
        TooManyRedirects => {
            Broken::Never(format!("redirected more than {} times", patience.redirects))
        }
        error @ (BadUri(_) | Http(_) | RedirectFailed | Rustls(_) | Tls(_)) => {
            Broken::Never(error.to_string())
        }
        error => Broken::Again(error.to_string()),
    }
}

fn no_such_host() -> Broken {
    Broken::Never(
        "the host's name cannot be looked up; is there a network, or a proxy to be named in \
         HTTPS_PROXY?"
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
