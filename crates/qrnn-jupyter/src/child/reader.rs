//! The thread that reads what the child process writes.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::child::cell_output::{CellOutput, Failure, Panic, Representations};
use crate::child::demultiplexer::{Demultiplexer, Event};
use crate::child::markers::{MARK, PANIC, REFUSED};
use crate::rustc::warnings;

/// Text that arrives within this time is sent together.
const BATCH: Duration = Duration::from_millis(30);
/// The representations of a value arrive in succession. After this pause they are complete.
const PAUSE: Duration = Duration::from_millis(50);
/// The pause if one has arrived in part.
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// How often a silent process is checked for reads of standard input.
const CHECK: Duration = Duration::from_millis(100);

struct Stream {
    name: &'static str,
    pipe: PipeReader,
    demultiplexer: Demultiplexer,
    /// The first bytes of an incomplete character.
    partial: Vec<u8>,
    /// The end of the cell has arrived.
    done: bool,
}

impl Stream {
    fn new(name: &'static str, pipe: PipeReader) -> Self {
        let demultiplexer = Demultiplexer::default();
        Self { name, pipe, demultiplexer, partial: vec![], done: false }
    }
}

pub struct Reader {
    output: Arc<CellOutput>,
    streams: [Stream; 2],
    acknowledgements: PipeWriter,
    /// Requests to drain the pipes.
    drains: mpsc::Receiver<mpsc::Sender<()>>,
    /// Interrupts waiting for output.
    waker: PipeReader,
    /// Text to be sent: the index of its stream, and bytes.
    pending: Vec<(usize, Vec<u8>)>,
    sent: Instant,
    /// The representations of a value that have arrived.
    representations: Representations,
    last_representation: Instant,
}

impl Reader {
    pub fn new(
        output: Arc<CellOutput>,
        [stdout, stderr]: [PipeReader; 2],
        acknowledgements: PipeWriter,
        drains: mpsc::Receiver<mpsc::Sender<()>>,
        waker: PipeReader,
    ) -> Self {
        Self {
            output,
            streams: [Stream::new("stdout", stdout), Stream::new("stderr", stderr)],
            acknowledgements,
            drains,
            waker,
            pending: vec![],
            sent: Instant::now(),
            representations: vec![],
            last_representation: Instant::now(),
        }
    }

    /// Reads until the kernel ends.
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
            if self.is_value_complete() {
                self.send_value();
            }
            if self.sent.elapsed() >= BATCH {
                self.send_text(false);
            }
            if !read {
                self.check_for_reads();
            }
            while let Ok(done) = self.drains.try_recv() {
                self.drain(&mut buffer);
                let _ = done.send(());
            }
        }
    }

    /// Whether no further representation of the value is expected. A long one takes many reads; one
    /// that never ends must not block the value.
    fn is_value_complete(&self) -> bool {
        let amid_content = self.streams[0].demultiplexer.is_amid_content();
        let pause = if amid_content { LONG_PAUSE } else { PAUSE };
        !self.representations.is_empty() && self.last_representation.elapsed() >= pause
    }

    /// Waits until something can be read, or something pending may be due.
    fn wait(&self) -> [bool; 3] {
        let busy = !self.pending.is_empty() || !self.representations.is_empty();
        let timeout = if busy { Duration::from_millis(5) } else { CHECK };
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
        let mut ready =
            [self.streams[0].pipe.as_fd(), self.streams[1].pipe.as_fd(), self.waker.as_fd()]
                .map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN));
        match poll(&mut ready, Some(&timeout)) {
            Ok(_) => ready.map(|pipe| pipe.revents().contains(PollFlags::IN)),
            Err(_) => [false; 3],
        }
    }

    /// Reads once; whether there was something.
    fn read(&mut self, index: usize, buffer: &mut [u8]) -> bool {
        let n = match self.streams[index].pipe.read(buffer) {
            Ok(0) | Err(_) => return false,
            Ok(n) => n,
        };
        for event in self.streams[index].demultiplexer.feed(&buffer[..n]) {
            self.handle(index, event);
        }
        true
    }

    fn handle(&mut self, index: usize, event: Event) {
        // Standard error may be read while a representation on standard output is incomplete.
        let split = index == 1 && self.streams[0].demultiplexer.is_amid_content();
        if !matches!(event, Event::Content(..)) && !split {
            self.send_value();
        }
        match event {
            Event::Text(bytes) => match self.pending.last_mut() {
                Some((last, text)) if *last == index => text.extend(bytes),
                _ => self.pending.push((index, bytes)),
            },
            Event::Content(media_type, content) => {
                // A second representation of the same type belongs to another value.
                if self.representations.iter().any(|(other, _)| *other == media_type) {
                    self.send_value();
                }
                self.send_text(false);
                self.representations.push((media_type, content));
                self.last_representation = Instant::now();
            }
            Event::Oversized(bytes) => {
                self.send_text(false);
                self.output.note_oversized(&self.output.cell.lock(), bytes);
            }
            Event::Evcxr(line) => {
                let mut cell = self.output.cell.lock();
                if line == PANIC {
                    let unknown = || Panic { text: "(no message)".into(), at: None };
                    let panic = cell.panic.take().unwrap_or_else(unknown);
                    cell.report.panic = Some(panic);
                }
                cell.for_evcxr.push(line);
            }
            Event::Input { prompt, password } => self.request_input(&prompt, password),
            Event::Marker(marker) => self.handle_marker(index, marker),
        }
    }

    fn handle_marker(&mut self, index: usize, marker: Value) {
        self.send_text(false);
        let output = self.output.clone();
        let mut cell = output.cell.lock();
        let text = |name: &str| marker[name].as_str().unwrap_or_default().to_owned();
        let location = || serde_json::from_value(marker["at"].clone()).ok();
        let content = &marker["content"];
        match marker["msg_type"].as_str() {
            Some(kind @ ("display_data" | "update_display_data"))
                if content["data"].is_object() =>
            {
                output.show(&mut cell, kind, content.clone());
            }
            Some("clear_output") if content.is_object() => {
                output.publish(&cell, "clear_output", content.clone());
            }
            Some("ending") => cell.ending = true,
            Some("starting") => {
                let restoring = cell.restoring;
                if !restoring && let Some((compiled, workdir)) = cell.compiled.take() {
                    output.stream(&cell, "stderr", &warnings::drawn(&compiled, &workdir));
                }
                drop(cell);
                let may_start = restoring || output.interrupter.may_start();
                output.cell.lock().prevented |= !may_start;
                let _ = self.acknowledgements.write_all(format!("{may_start}\n").as_bytes());
            }
            Some("done") => self.streams[index].done = true,
            Some("panic") => {
                let panic = Panic { text: text("text"), at: location() };
                if marker["main"] == true {
                    if let Some(caught) = cell.panic.replace(panic) {
                        output.show_panic(&cell, &caught, "the cell");
                    }
                } else {
                    let thread = marker["thread"].as_str().unwrap_or("<unnamed>");
                    output.show_panic(&cell, &panic, &format!("thread '{thread}'"));
                    cell.thread_panic = Some(panic);
                }
            }
            // A resumed panic does not call the panic hook.
            Some("caught") if cell.panic.is_none() => {
                let text = text("text");
                let original = cell.thread_panic.take().filter(|panic| panic.text == text);
                cell.panic = Some(original.unwrap_or(Panic { text, at: None }));
            }
            Some("caught") => {}
            Some("changed") => cell.changed.push(text("name")),
            Some("failed") => {
                let (type_name, text) = (text("type"), text("text"));
                cell.report.failure = Some(Failure { type_name, text, at: location() });
            }
            Some("input") => {
                drop(cell);
                self.request_input(&text("prompt"), marker["password"] == true);
            }
            _ => self.pending.push((index, format!("{MARK}{marker}\n").into())),
        }
    }

    /// Asks the user for a line, after the text before it is shown.
    fn request_input(&mut self, prompt: &str, password: bool) {
        self.send_text(true);
        self.output.stdin.request(prompt, password);
    }

    /// Asks the user for a line if the cell reads standard input directly.
    fn check_for_reads(&mut self) {
        let running = self.output.cell.lock().running;
        if running && self.pending.is_empty() && self.output.stdin.is_awaited() {
            self.request_input("", false);
        }
    }

    fn send_value(&mut self) {
        if !self.representations.is_empty() {
            let representations = std::mem::take(&mut self.representations);
            self.output.display(&mut self.output.cell.lock(), representations);
        }
    }

    /// Sends pending text. `all` includes incomplete characters.
    fn send_text(&mut self, all: bool) {
        if all {
            self.pending.extend((0..self.streams.len()).map(|index| (index, vec![])));
        }
        let mut cell = self.output.cell.lock();
        for (index, bytes) in self.pending.drain(..) {
            let stream = &mut self.streams[index];
            let mut whole = std::mem::take(&mut stream.partial);
            whole.extend(bytes);
            if !all {
                stream.partial = whole.split_off(whole_characters(&whole));
            }
            let text = String::from_utf8_lossy(&whole);
            let admitted = cell.limit.admit(&text);
            self.output.stream(&cell, stream.name, admitted);
        }
        self.sent = Instant::now();
    }

    /// Tells the child process that all output of the cell is read.
    fn acknowledge(&mut self) {
        let mut for_evcxr = self.end_output();
        if !self.output.cell.lock().changed.is_empty() {
            for_evcxr.push(REFUSED.into());
        }
        // If the process has ended, evcxr notices it.
        let _ = self.acknowledgements.write_all((json!(for_evcxr).to_string() + "\n").as_bytes());
    }

    /// Reads what a process that has ended left in the pipes.
    fn drain(&mut self, buffer: &mut [u8]) {
        for index in 0..self.streams.len() {
            while self.read(index, buffer) {}
            for event in self.streams[index].demultiplexer.end() {
                self.handle(index, event);
            }
        }
        self.end_output();
    }

    /// Sends what is left of the cell's output. Returns the lines for evcxr.
    fn end_output(&mut self) -> Vec<String> {
        self.send_value();
        self.send_text(true);
        for stream in &mut self.streams {
            stream.done = false;
        }
        let mut cell = self.output.cell.lock();
        if let Some(caught) = cell.panic.take() {
            self.output.show_panic(&cell, &caught, "the cell");
        }
        cell.ending = false;
        std::mem::take(&mut cell.for_evcxr)
    }
}

/// The number of bytes before an incomplete character at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    (tail..bytes.len())
        .find(|&at| {
            let error = std::str::from_utf8(&bytes[at..]).err();
            // The first byte of a character, with too few bytes after it.
            bytes[at] >= 0xc2
                && error.is_some_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
        })
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_character_is_recognized() {
        assert_eq!(whole_characters("aé".as_bytes()), 3);
        assert_eq!(whole_characters(b"a\xc3"), 1);
        assert_eq!(whole_characters(b"a\xf0\x9f\xa6"), 1);
        assert_eq!(whole_characters(b"a\xff"), 2);
        assert_eq!(whole_characters(b"\xf0\x9f\xa6\x80\xe2\x82"), 4);
        assert_eq!(whole_characters(b""), 0);
    }
}
