//! A web server with configurable errors.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request of a client.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Removes a header.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(header, _)| header != name);
    }

    /// The first requested byte.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// The response, and the errors to simulate.
#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Content-Length, instead of the length of the body; `Some(None)`: no Content-Length.
    pub length: Option<Option<usize>>,
    /// Closes the connection after this many bytes of the body.
    pub drop_after: Option<usize>,
    /// Sends nothing after this many bytes of the body until the client disconnects.
    pub silent_after: Option<usize>,
    /// Sends small chunks, with this delay after each.
    pub pause: Option<Duration>,
}

impl Response {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn whole(body: &[u8]) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    /// The response of a server that supports ranges and tags.
    pub fn ranges(request: &Request, body: &[u8], tag: &str) -> Self {
        let current = request.header("if-range").is_none_or(|wanted| wanted == tag);
        let tag = ("ETag", tag.to_owned());
        let total = body.len();
        match request.from().filter(|_| current) {
            None => Self { headers: vec![tag], ..Self::whole(body) },
            Some(from) if from >= total => Self {
                headers: vec![("Content-Range", format!("bytes */{total}"))],
                ..Self::status(416)
            },
            Some(from) => Self {
                status: 206,
                headers: vec![
                    tag,
                    ("Content-Range", format!("bytes {from}-{}/{total}", total - 1)),
                ],
                ..Self::whole(&body[from..])
            },
        }
    }

    pub fn redirect(to: &str) -> Self {
        Self { headers: vec![("Location", to.into())], ..Self::status(302) }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Listens on a free port until the test process ends.
pub struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server. `respond` gets the index of each request, counted from 0.
    pub fn start(respond: impl Fn(usize, &Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(vec![]));
        let (log, respond) = (requests.clone(), Arc::new(respond));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, respond) = (log.clone(), respond.clone());
                // The client may disconnect at any time, which is not a failure.
                std::thread::spawn(move || serve(stream.unwrap(), &log, &*respond).ok());
            }
        });
        Self { address, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    requests: &Mutex<Vec<Request>>,
    respond: &dyn Fn(usize, &Request) -> Response,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut request =
        Request { path: line.split(' ').nth(1).unwrap_or_default().into(), ..Request::default() };
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        request.headers.push((name.to_lowercase(), value.into()));
    }
    let number = {
        let mut requests = requests.lock().unwrap();
        requests.push(request.clone());
        requests.len() - 1
    };
    send(stream, respond(number, &request))
}

fn send(mut stream: TcpStream, response: Response) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", response.status);
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = response.length.unwrap_or(Some(response.body.len())) {
        head += &format!("Content-Length: {length}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    let stop = response.drop_after.or(response.silent_after).unwrap_or(response.body.len());
    let body = &response.body[..stop.min(response.body.len())];
    match response.pause {
        None => stream.write_all(body)?,
        Some(pause) => {
            for chunk in body.chunks(1000) {
                stream.write_all(chunk)?;
                stream.flush()?;
                std::thread::sleep(pause);
            }
        }
    }
    if response.silent_after.is_some() {
        // Blocks until the client disconnects.
        std::io::copy(&mut stream, &mut std::io::sink())?;
    }
    Ok(())
}
