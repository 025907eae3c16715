//! One HTTP request. Threads wait for DNS, the connection and the server, none of which can be
//! interrupted, so that the caller can be.

use std::io::{ErrorKind, Read as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use ureq::Body;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderValue, Response, header};

use super::failure::Failure;
use crate::interrupt::Interrupt;

/// Interval between checks of the interrupt.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Some hosts respond with 403 to clients other than browsers.
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// Values from a thread, which ends with the connection: at the latest after the request's timeout.
pub(super) struct Background<T>(Receiver<Result<T, ureq::Error>>);

impl<T: Send + 'static> Background<T> {
    fn spawn(values: impl Iterator<Item = Result<T, ureq::Error>> + Send + 'static) -> Self {
        // A small buffer, so that the network does not wait for the disk.
        let (send, receive) = sync_channel(16);
        // Without a thread, there are no values.
        let _ = std::thread::Builder::new().name("download".into()).spawn(move || {
            for value in values {
                if send.send(value).is_err() {
                    break;
                }
            }
        });
        Self(receive)
    }

    /// The next value; `None` after the last.
    pub fn next(&self, interrupt: &Interrupt) -> Result<Option<T>, Failure> {
        loop {
            interrupt.check(String::new)?;
            match self.0.recv_timeout(POLL_INTERVAL) {
                Ok(value) => return value.map(Some).map_err(network_failure),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

/// Whether a URL begins with http or https and a host.
pub(super) fn is_web_url(url: &str) -> bool {
    let host = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
}

/// A token as a header, which logs and errors do not show.
fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::permanent("HF_TOKEN has characters that a token cannot have"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Requests a file from byte `from` on. With a tag, requests all of it if its tag has changed (`If-Range`).
///
/// The token goes to the host of the URL only: a redirect leads to another one, usually, and no redirect
/// needs it.
pub(super) fn request(
    url: &str,
    token: Option<&str>,
    from: u64,
    tag: Option<&str>,
    timeout: Duration,
) -> Result<Background<Response<Body>>, Failure> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .redirect_auth_headers(RedirectAuthHeaders::Never)
        .timeout_resolve(Some(timeout))
        .timeout_connect(Some(timeout))
        .timeout_recv_response(Some(timeout))
        .timeout_per_read(Some(timeout))
        .timeout_per_write(Some(timeout))
        .build()
        .new_agent();
    let mut request = agent.get(url);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, bearer(token)?);
    }
    if from > 0 {
        request = request.header(header::RANGE, format!("bytes={from}-"));
        if let Some(tag) = tag {
            request = request.header(header::IF_RANGE, tag);
        }
    }
    Ok(Background::spawn(std::iter::once_with(|| request.call())))
}

/// The bytes of a body, as they arrive.
pub(super) fn bytes(body: Body) -> Background<Vec<u8>> {
    let mut body = body.into_reader();
    Background::spawn(std::iter::from_fn(move || {
        let mut bytes = vec![0; 1 << 16];
        match body.read(&mut bytes) {
            Ok(0) => None,
            Ok(read) => {
                bytes.truncate(read);
                Some(Ok(bytes))
            }
            Err(error) => Some(Err(error.into())),
        }
    }))
}

fn network_failure(error: ureq::Error) -> Failure {
    use ureq::Error::{
        BadUri, HostNotFound, Http, Io, RedirectFailed, Rustls, Timeout, Tls, TooManyRedirects,
    };
    let text = error.to_string();
    match error {
        Timeout(_) => Failure::temporary("the server did not respond in time"),
        Io(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            Failure::temporary("the server did not respond in time")
        }
        // The text tells these two input errors from others; they have no kind.
        Io(_) if text.contains("invalid peer certificate") => Failure::permanent(format!(
            "{text}: the server, or a proxy in between, has the wrong certificate"
        )),
        error if matches!(error, HostNotFound) || text.contains("failed to lookup address") => {
            Failure::permanent(
                "the host name cannot be looked up; check the network connection, or set \
                 HTTPS_PROXY if you need a proxy",
            )
        }
        Io(error) => Failure::temporary(format!("the connection broke: {error}")),
        BadUri(_) | Http(_) | RedirectFailed | Rustls(_) | Tls(_) | TooManyRedirects => {
            Failure::Permanent(text)
        }
        _ => Failure::temporary(text),
    }
}
