//! A web server for tests, as bad as they come.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a client asked for.
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

    /// As if this header had not been sent.
    pub fn forget(&mut self, name: &str) {
        self.headers.retain(|(header, _)| header != name);
    }

    /// The first byte that is wanted.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the server does about it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Says this length, instead of the body's; `Some(None)`: says none.
    pub length: Option<Option<usize>>,
    /// After so many bytes of the body it hangs up.
    pub drop_after: Option<usize>,
    /// After so many bytes of the body it says nothing more for as long as the client stays.
    pub silent_after: Option<usize>,
    /// Sends small pieces with such a pause after each.
    pub pause: Option<Duration>,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn whole(body: &[u8]) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    /// As a server does that knows ranges and tags.
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

/// Listens on a port of its own until the test's process ends.
pub struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request, the n-th counted from 0.
    pub fn start(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(vec![]));
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (seen.clone(), answer.clone());
                // The client may hang up at any moment; that is no failure of the test.
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &*answer).ok());
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
    seen: &Mutex<Vec<Request>>,
    answer: &dyn Fn(usize, &Request) -> Answer,
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
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    send(stream, answer(number, &request))
}

fn send(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = answer.length.unwrap_or(Some(answer.body.len())) {
        head += &format!("Content-Length: {length}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    let stop = answer.drop_after.or(answer.silent_after).unwrap_or(answer.body.len());
    let body = &answer.body[..stop.min(answer.body.len())];
    match answer.pause {
        None => stream.write_all(body)?,
        Some(pause) => {
            for piece in body.chunks(1000) {
                stream.write_all(piece)?;
                stream.flush()?;
                std::thread::sleep(pause);
            }
        }
    }
    if answer.silent_after.is_some() {
        // Ends when the client does.
        std::io::copy(&mut stream, &mut std::io::sink())?;
    }
    Ok(())
}
