//! The thread that reads what the evaluation process writes.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::child::demultiplexer::{Demultiplexer, Event, MARK};
use crate::child::runtime::REFUSED;
use crate::child::streams::{Failed, Panic, Shared, say, too_large};
use crate::rustc::warnings;

/// Text that comes in quick succession is sent together.
const TOGETHER: Duration = Duration::from_millis(30);
/// The forms of one value come one after the other; after such a pause they are all there.
const PAUSE: Duration = Duration::from_millis(50);
/// The same where one has arrived in part.
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// How often a silent process is looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Stream {
    name: &'static str,
    pipe: PipeReader,
    demultiplexer: Demultiplexer,
    /// The bytes of a character that is not whole yet.
    partial: Vec<u8>,
    /// The cell's end was seen here.
    done: bool,
}

impl Stream {
    fn new(name: &'static str, pipe: PipeReader) -> Self {
        let demultiplexer = Demultiplexer::default();
        Self { name, pipe, demultiplexer, partial: vec![], done: false }
    }
}

/// Reads both streams until the kernel ends.
pub struct Reader {
    shared: Arc<Shared>,
    streams: [Stream; 2],
    acknowledgements: PipeWriter,
    settling: mpsc::Receiver<mpsc::Sender<()>>,
    waker: PipeReader,
    /// Text that waits to be sent: of which stream, and the bytes.
    pending: Vec<(usize, Vec<u8>)>,
    sent: Instant,
    /// The forms of a value, as they come.
    forms: Vec<(String, String)>,
    formed: Instant,
}

impl Reader {
    pub fn new(
        shared: Arc<Shared>,
        [stdout, stderr]: [PipeReader; 2],
        acknowledgements: PipeWriter,
        settling: mpsc::Receiver<mpsc::Sender<()>>,
        waker: PipeReader,
    ) -> Self {
        Self {
            shared,
            streams: [Stream::new("stdout", stdout), Stream::new("stderr", stderr)],
            acknowledgements,
            settling,
            waker,
            pending: vec![],
            sent: Instant::now(),
            forms: vec![],
            formed: Instant::now(),
        }
    }

    pub fn run(mut self) {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let [stdout, stderr, woken] = self.wait();
            if woken {
                let _ = self.waker.read(&mut [0; 64]);
            }
            let mut read = false;
            for (index, ready) in [stdout, stderr].into_iter().enumerate() {
                read |= ready && self.read(index, &mut buffer);
            }
            if self.streams.iter().all(|stream| stream.done) {
                self.acknowledge();
            }
            if self.forms_are_due() {
                self.send_forms();
            }
            if self.sent.elapsed() >= TOGETHER {
                self.send(false);
            }
            if !read {
                self.look_for_a_reader();
            }
            while let Ok(done) = self.settling.try_recv() {
                self.settle(&mut buffer);
                let _ = done.send(());
            }
        }
    }

    /// A long form arrives in many reads: it is waited for, but not for one that never ends.
    fn forms_are_due(&self) -> bool {
        let pause =
            if self.streams[0].demultiplexer.is_amid_content() { LONG_PAUSE } else { PAUSE };
        !self.forms.is_empty() && self.formed.elapsed() >= pause
    }

    /// Until there is something to read, or something that waits is due.
    fn wait(&self) -> [bool; 3] {
        let busy = !self.pending.is_empty() || !self.forms.is_empty();
        let timeout = if busy { Duration::from_millis(5) } else { LOOK };
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
        let mut ready =
            [self.streams[0].pipe.as_fd(), self.streams[1].pipe.as_fd(), self.waker.as_fd()]
                .map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN));
        match poll(&mut ready, Some(&timeout)) {
            Ok(_) => ready.map(|pipe| pipe.revents().contains(PollFlags::IN)),
            Err(_) => [false; 3],
        }
    }

    /// One read; whether there was something.
    fn read(&mut self, index: usize, buffer: &mut [u8]) -> bool {
        let n = match self.streams[index].pipe.read(buffer) {
            Ok(0) | Err(_) => return false,
            Ok(n) => n,
        };
        for event in self.streams[index].demultiplexer.feed(&buffer[..n]) {
            self.take(index, event);
        }
        true
    }

    fn take(&mut self, index: usize, event: Event) {
        // Standard error may be read ahead of a value of which standard output still holds a part.
        let split = index == 1 && self.streams[0].demultiplexer.is_amid_content();
        if !matches!(event, Event::Content(..)) && !split {
            self.send_forms();
        }
        match event {
            Event::Text(bytes) => match self.pending.last_mut() {
                Some((last, text)) if *last == index => text.extend(bytes),
                _ => self.pending.push((index, bytes)),
            },
            Event::Content(media_type, content) => {
                // The same form again is another value.
                if self.forms.iter().any(|(other, _)| *other == media_type) {
                    self.send_forms();
                }
                self.send(false);
                self.forms.push((media_type, content));
                self.formed = Instant::now();
            }
            Event::Oversized(bytes) => {
                self.send(false);
                self.shared.stream(&self.shared.lock(), "stderr", &too_large(bytes));
            }
            Event::Evcxr(line) => {
                let mut cell = self.shared.lock();
                if line == "EVCXR_PANIC_NOTIFICATION" {
                    let unknown = || Panic { text: "(no message)".into(), at: None };
                    let panic = cell.panic.take().unwrap_or_else(unknown);
                    cell.report.panic = Some(panic);
                }
                cell.passed_on.push(line);
            }
            Event::Input { prompt, password } => self.ask(&prompt, password),
            Event::Marker(marker) => self.obey(index, marker),
        }
    }

    fn obey(&mut self, index: usize, marker: Value) {
        self.send(false);
        let mut cell = self.shared.lock();
        let text = |name: &str| marker[name].as_str().unwrap_or_default().to_owned();
        match marker["msg_type"].as_str() {
            Some(kind @ ("display_data" | "update_display_data")) if is_display(&marker) => {
                self.shared.show(&mut cell, kind, marker["content"].clone());
            }
            Some("clear_output") if marker["content"].is_object() => {
                self.shared.publish(&cell, "clear_output", marker["content"].clone());
            }
            Some("ending") => cell.ending = true,
            Some("starting") => {
                let keeping = cell.keeping;
                if !keeping && let Some((compiled, folder)) = cell.compiled.take() {
                    let warned = warnings::drawn(&compiled, &folder);
                    self.shared.stream(&cell, "stderr", &warned);
                }
                drop(cell);
                let may_run = keeping || self.shared.interrupter.may_run();
                self.shared.lock().held_back |= !may_run;
                let line = format!("{may_run}\n");
                let _ = self.acknowledgements.write_all(line.as_bytes());
            }
            Some("done") => {
                drop(cell);
                self.streams[index].done = true;
            }
            Some("panic") => {
                let at = serde_json::from_value(marker["at"].clone()).ok();
                let panic = Panic { text: text("text"), at };
                if marker["main"] == true {
                    if let Some(caught) = cell.panic.replace(panic) {
                        self.shared.stream(&cell, "stderr", &say(&caught, "the cell"));
                    }
                } else {
                    let thread = marker["thread"].as_str().unwrap_or("<unnamed>");
                    let thread = format!("thread '{thread}'");
                    self.shared.stream(&cell, "stderr", &say(&panic, &thread));
                    cell.elsewhere = Some(panic);
                }
            }
            Some("caught") => {
                // Handed on from where it happened, past the panic hook.
                let text = text("text");
                if cell.panic.is_none() {
                    let elsewhere = cell.elsewhere.take().filter(|panic| panic.text == text);
                    cell.panic = Some(elsewhere.unwrap_or(Panic { text, at: None }));
                }
            }
            Some("changed") => cell.changed.push(text("name")),
            Some("failed") => {
                let at = serde_json::from_value(marker["at"].clone()).ok();
                let (type_name, text) = (text("type"), text("text"));
                cell.report.failed = Some(Failed { type_name, text, at });
            }
            Some("input") => {
                drop(cell);
                self.ask(&text("prompt"), marker["password"] == true);
            }
            _ => {
                drop(cell);
                self.pending.push((index, format!("{MARK}{marker}\n").into()));
            }
        }
    }

    /// Code waits for a line: the text before it is shown first.
    fn ask(&mut self, prompt: &str, password: bool) {
        self.send(true);
        self.shared.asker.ask(prompt, password);
    }

    /// Plain reads of standard input announce themselves by nothing but waiting.
    fn look_for_a_reader(&mut self) {
        let running = self.shared.lock().running;
        if running && self.pending.is_empty() && self.shared.asker.is_waiting() {
            self.ask("", false);
        }
    }

    fn send_forms(&mut self) {
        if !self.forms.is_empty() {
            let forms = std::mem::take(&mut self.forms);
            self.shared.display(&mut self.shared.lock(), forms);
        }
    }

    /// Sends text; where it is `all`, a character that is cut short too.
    fn send(&mut self, all: bool) {
        let mut cell = self.shared.lock();
        for (index, bytes) in self.pending.drain(..) {
            let stream = &mut self.streams[index];
            let mut whole = std::mem::take(&mut stream.partial);
            whole.extend(bytes);
            if !all {
                stream.partial = whole.split_off(whole_characters(&whole));
            }
            let text = String::from_utf8_lossy(&whole);
            let admitted = cell.bound.admit(&text).to_owned();
            self.shared.stream(&cell, stream.name, &admitted);
        }
        if all {
            for stream in &mut self.streams {
                let partial = std::mem::take(&mut stream.partial);
                let text = String::from_utf8_lossy(&partial);
                let admitted = cell.bound.admit(&text).to_owned();
                self.shared.stream(&cell, stream.name, &admitted);
            }
        }
        self.sent = Instant::now();
    }

    /// The cell's code has ended and all its output is read.
    fn acknowledge(&mut self) {
        self.send_forms();
        self.send(true);
        for stream in &mut self.streams {
            stream.done = false;
        }
        let mut cell = self.shared.lock();
        self.shared.forget_caught_panic(&mut cell);
        cell.ending = false;
        if !cell.changed.is_empty() {
            cell.passed_on.push(REFUSED.into());
        }
        let line = json!(std::mem::take(&mut cell.passed_on)).to_string() + "\n";
        drop(cell);
        // Where the process has ended meanwhile, evcxr notices.
        let _ = self.acknowledgements.write_all(line.as_bytes());
    }

    fn settle(&mut self, buffer: &mut [u8]) {
        for index in 0..self.streams.len() {
            while self.read(index, buffer) {}
            for event in self.streams[index].demultiplexer.end() {
                self.take(index, event);
            }
            self.streams[index].done = false;
        }
        self.send_forms();
        self.send(true);
        let mut cell = self.shared.lock();
        self.shared.forget_caught_panic(&mut cell);
        cell.passed_on.clear();
    }
}

fn is_display(marker: &Value) -> bool {
    marker["content"]["data"].is_object()
}

/// How many bytes are whole characters, or will never be.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    (tail..bytes.len())
        .find(|&at| {
            let error = std::str::from_utf8(&bytes[at..]).err();
            // A character's first byte, with fewer bytes after it than it calls for.
            bytes[at] >= 0xc2
                && error.is_some_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
        })
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_is_cut_waits_for_its_end() {
        assert_eq!(whole_characters("aé".as_bytes()), 3);
        assert_eq!(whole_characters(b"a\xc3"), 1);
        assert_eq!(whole_characters(b"a\xf0\x9f\xa6"), 1);
        assert_eq!(whole_characters(b"a\xff"), 2);
        assert_eq!(whole_characters(b"\xf0\x9f\xa6\x80\xe2\x82"), 4);
        assert_eq!(whole_characters(b""), 0);
    }
}
