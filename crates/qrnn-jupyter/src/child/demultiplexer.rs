//! Splits what the child process writes to standard output: text, marker lines, evcxr's protocol.

use serde_json::Value;

use crate::child::markers::{ERROR_OCCURRED, MARK, PANIC};

const TOKEN: &str = "EVCXR_";
const BEGIN: &str = "EVCXR_BEGIN_CONTENT ";
const END: &str = "EVCXR_END_CONTENT";
const INPUT: &str = "EVCXR_INPUT_REQUEST";
const TYPE_CHANGED: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";

/// A longer line is text, and a longer content is not shown.
pub const MAX_LENGTH: usize = 32 << 20;

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Text(Vec<u8>),
    /// The JSON object of a marker line.
    Marker(Value),
    /// One representation of a value: media type and content.
    Content(String, String),
    /// A content that is too long, with its length in bytes.
    Oversized(usize),
    /// A line for evcxr.
    Evcxr(String),
    /// Code waits for a line of input.
    Input {
        prompt: String,
        password: bool,
    },
}

/// Finds events in a stream of bytes that arrives in pieces of any size.
#[derive(Default)]
pub struct Demultiplexer {
    /// The start of a line that may be special.
    held: Vec<u8>,
    content: Option<Content>,
}

struct Content {
    media_type: String,
    /// The rest of the line with the begin token.
    header: String,
    text: Vec<u8>,
    bytes: usize,
}

impl Demultiplexer {
    /// The events that `bytes` complete. Text is only held while it may be a marker or token.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = vec![];
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            if self.held.is_empty() {
                self.line(line, &mut events);
            } else {
                let mut whole = std::mem::take(&mut self.held);
                whole.extend_from_slice(line);
                self.line(&whole, &mut events);
            }
        }
        self.held.extend_from_slice(rest);
        if self.content.is_none() {
            let special = special_start(&self.held).filter(|_| self.held.len() <= MAX_LENGTH);
            let held = self.held.split_off(special.unwrap_or(self.held.len()));
            let text = std::mem::replace(&mut self.held, held);
            push_text(&mut events, text);
        }
        events
    }

    /// Whether a content, or what may be the start of one, has arrived in part.
    pub fn is_amid_content(&self) -> bool {
        self.content.is_some() || !self.held.is_empty()
    }

    /// After the process has ended: what is held is text.
    pub fn end(&mut self) -> Vec<Event> {
        let mut events = vec![];
        self.abandon_content(&mut events);
        push_text(&mut events, std::mem::take(&mut self.held));
        events
    }

    /// A content without an end is text.
    fn abandon_content(&mut self, events: &mut Vec<Event>) {
        if let Some(content) = self.content.take() {
            if content.bytes > MAX_LENGTH {
                events.push(content.event());
            } else {
                push_text(events, format!("{BEGIN}{}\n", content.header).into());
                push_text(events, content.text);
            }
        }
    }

    /// A whole line. It may end with a marker.
    fn line(&mut self, line: &[u8], events: &mut Vec<Event>) {
        let Some((before, marker)) = split_marker(line) else { return self.part(line, events) };
        if !before.is_empty() {
            self.part(before, events);
        }
        // The end of the cell, or its value, ends an open content.
        if matches!(marker["msg_type"].as_str(), Some("done" | "ending")) {
            self.abandon_content(events);
        }
        events.push(Event::Marker(marker));
    }

    /// A line without markers, perhaps without its end.
    fn part(&mut self, line: &[u8], events: &mut Vec<Event>) {
        let stripped = line.strip_suffix(b"\n").unwrap_or(line);
        if let Some(content) = &mut self.content {
            let fails = [PANIC, ERROR_OCCURRED].iter().any(|t| stripped.ends_with(t.as_bytes()));
            if let Some(last) = stripped.strip_suffix(END.as_bytes()) {
                content.add(last);
                events.extend(self.content.take().map(Content::event));
            } else if fails || stripped.starts_with(BEGIN.as_bytes()) {
                // `evcxr_display` panicked or failed, or another content starts.
                self.abandon_content(events);
                self.part(line, events);
            } else {
                content.add(line);
            }
            return;
        }
        let Some(start) = special_start(line) else { return push_text(events, line.to_vec()) };
        let (before, special) = line.split_at(start);
        let text = String::from_utf8_lossy(special);
        let text = text.trim_end_matches(['\n', '\r']);
        let is_for_evcxr =
            [PANIC, ERROR_OCCURRED, TYPE_CHANGED].iter().any(|t| text.starts_with(t));
        if let Some(header) = text.strip_prefix(BEGIN) {
            push_text(events, before.to_vec());
            let media_type = header.split(' ').next().unwrap_or_default().to_owned();
            let header = header.to_owned();
            self.content = Some(Content { media_type, header, text: vec![], bytes: 0 });
        } else if is_for_evcxr {
            push_text(events, before.to_vec());
            events.push(Event::Evcxr(text.to_owned()));
        } else if let Some(request) = text.strip_prefix(INPUT) {
            push_text(events, before.to_vec());
            let (kind, prompt) = request.split_once(':').unwrap_or((request, ""));
            events.push(Event::Input { prompt: prompt.into(), password: !kind.is_empty() });
        } else {
            push_text(events, line.to_vec());
        }
    }
}

/// The marker at the end of a line, and what is before it.
fn split_marker(line: &[u8]) -> Option<(&[u8], Value)> {
    let starts = line.windows(MARK.len()).enumerate();
    let mut starts = starts.filter(|(_, window)| *window == MARK.as_bytes());
    starts.find_map(|(at, _)| {
        let json = std::str::from_utf8(&line[at + MARK.len()..]).ok()?;
        let value = serde_json::from_str::<Value>(json.trim_end()).ok()?;
        value.is_object().then_some((&line[..at], value))
    })
}

impl Content {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        if self.bytes <= MAX_LENGTH {
            self.text.extend_from_slice(bytes);
        } else {
            self.text = vec![];
        }
    }

    fn event(self) -> Event {
        if self.bytes > MAX_LENGTH {
            return Event::Oversized(self.bytes);
        }
        let text = String::from_utf8_lossy(&self.text);
        Event::Content(self.media_type, text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }
}

fn push_text(events: &mut Vec<Event>, text: Vec<u8>) {
    if text.is_empty() {
        return;
    }
    if let Some(Event::Text(last)) = events.last_mut() {
        last.extend(text);
    } else {
        events.push(Event::Text(text));
    }
}

/// Where a marker or token starts in a line, or may start, depending on what follows.
fn special_start(line: &[u8]) -> Option<usize> {
    (0..line.len()).find(|&at| {
        let rest = &line[at..];
        [MARK, TOKEN].iter().any(|token| {
            let n = rest.len().min(token.len());
            rest[..n] == token.as_bytes()[..n]
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The events of a text that arrives in pieces of `n` bytes, with adjacent text joined.
    fn events(text: &[u8], n: usize) -> Vec<Event> {
        let mut demultiplexer = Demultiplexer::default();
        let mut all = vec![];
        let pieces = text.chunks(n).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let fed = pieces.iter().flat_map(|piece| demultiplexer.feed(piece)).collect::<Vec<_>>();
        for event in fed.into_iter().chain(demultiplexer.end()) {
            match event {
                Event::Text(text) => push_text(&mut all, text),
                other => all.push(other),
            }
        }
        all
    }

    fn text(text: &str) -> Event {
        Event::Text(text.into())
    }

    #[test]
    fn every_event_is_found_in_pieces_of_any_size() {
        let stream = "one\ntwo \u{1e}qrnn-jupyter {\"msg_type\":\"clear_output\",\"content\":{}}\n\
            EVCXR_BEGIN_CONTENT text/html\n<b>\n\nx</b>\nEVCXR_END_CONTENT\nabcEVCXR_PANIC_NOTIFICATION\n\
            EVCXR_VARIABLE_CHANGED_TYPE:x\nEVCXR_INPUT_REQUEST:name? \nend";
        let expected = [
            text("one\ntwo "),
            Event::Marker(json!({"msg_type": "clear_output", "content": {}})),
            Event::Content("text/html".into(), "<b>\n\nx</b>".into()),
            text("abc"),
            Event::Evcxr("EVCXR_PANIC_NOTIFICATION".into()),
            Event::Evcxr("EVCXR_VARIABLE_CHANGED_TYPE:x".into()),
            Event::Input { prompt: "name? ".into(), password: false },
            text("end"),
        ];
        for n in [1, 2, 3, 7, 64, 4096] {
            assert_eq!(events(stream.as_bytes(), n), expected, "in pieces of {n}");
        }
    }

    #[test]
    fn malformed_markers_are_text() {
        for plain in [
            "\u{1e}qrnn-jupyter {not json\n",
            "\u{1e}qrnn-jupyter [1]\n",
            "\u{1e}qrnn-jupyte\n",
            "\u{1e}",
            "EVCXR_SOMETHING\n",
            "EVCXR",
            "caf\u{e9} \u{1f980}\n",
        ] {
            for n in [1, 5, 100] {
                assert_eq!(events(plain.as_bytes(), n), [text(plain)]);
            }
        }
        assert_eq!(events(b"\xff\xfe\n", 1), [Event::Text(b"\xff\xfe\n".into())]);
    }

    #[test]
    fn text_is_passed_on_before_its_line_ends() {
        let mut demultiplexer = Demultiplexer::default();
        assert_eq!(demultiplexer.feed(b"50 %"), [text("50 %")]);
        assert_eq!(demultiplexer.feed(b" E"), [text(" ")]);
        assert_eq!(demultiplexer.feed(b"nd"), [text("End")]);
    }

    #[test]
    fn a_panic_ends_a_content() {
        let stream = b"EVCXR_BEGIN_CONTENT text/html\n<b>\nEVCXR_PANIC_NOTIFICATION\nafter\n";
        let expected = [
            text("EVCXR_BEGIN_CONTENT text/html\n<b>\n"),
            Event::Evcxr("EVCXR_PANIC_NOTIFICATION".into()),
            text("after\n"),
        ];
        assert_eq!(events(stream, 9), expected);
    }

    fn mark(kind: &str) -> String {
        format!("{MARK}{{\"msg_type\":\"{kind}\"}}\n")
    }

    #[test]
    fn the_end_of_the_cell_ends_an_open_content() {
        let done = || Event::Marker(json!({"msg_type": "done"}));
        for open in [
            "EVCXR_BEGIN_CONTENT text/html\n<p>never ended\n",
            "EVCXR_BEGIN_CONTENT text/html\n<p>never ended",
            "EVCXR_BEGIN_CONTENT text/html\n",
            "EVCXR_BEGIN_CONTENT image/png width=3\n\n\n",
        ] {
            let stream = format!("{open}{}", mark("done"));
            for n in [1, 7, 4096] {
                assert_eq!(events(stream.as_bytes(), n), [text(open), done()], "{open}");
            }
        }
        // A begin token without a line break gains one.
        let stream = format!("EVCXR_BEGIN_CONTENT text/html{}", mark("done"));
        assert_eq!(events(stream.as_bytes(), 5), [text("EVCXR_BEGIN_CONTENT text/html\n"), done()]);
    }

    #[test]
    fn an_end_needs_no_line_break() {
        let stream =
            format!("EVCXR_BEGIN_CONTENT text/html\n<b>x</b>EVCXR_END_CONTENT{}", mark("ending"));
        let html = Event::Content("text/html".into(), "<b>x</b>".into());
        for n in [1, 7, 4096] {
            let expected = [html.clone(), Event::Marker(json!({"msg_type": "ending"}))];
            assert_eq!(events(stream.as_bytes(), n), expected);
        }
    }

    #[test]
    fn another_content_ends_an_open_one() {
        let open = "EVCXR_BEGIN_CONTENT text/html\n<p>\n";
        let stream = format!(
            "{open}EVCXR_BEGIN_CONTENT text/plain\nx\nEVCXR_END_CONTENT\nEVCXR_END_CONTENT\n"
        );
        let expected = [
            text(open),
            Event::Content("text/plain".into(), "x".into()),
            text("EVCXR_END_CONTENT\n"),
        ];
        assert_eq!(events(stream.as_bytes(), 11), expected);
    }

    #[test]
    fn markers_are_found_within_a_content() {
        let stream = format!(
            "EVCXR_BEGIN_CONTENT text/html\n<p>\n{}</p>\nEVCXR_END_CONTENT\n",
            mark("panic")
        );
        let expected = [
            Event::Marker(json!({"msg_type": "panic"})),
            Event::Content("text/html".into(), "<p>\n</p>".into()),
        ];
        assert_eq!(events(stream.as_bytes(), 64), expected);
    }

    #[test]
    fn an_oversized_content_is_counted_and_dropped() {
        let mut demultiplexer = Demultiplexer::default();
        demultiplexer.feed(b"EVCXR_BEGIN_CONTENT text/plain\n");
        let line = vec![b'x'; 1 << 20];
        for _ in 0..33 {
            assert_eq!(demultiplexer.feed(&line), []);
            assert_eq!(demultiplexer.feed(b"\n"), []);
        }
        let bytes = 33 * ((1 << 20) + 1);
        assert_eq!(demultiplexer.feed(b"EVCXR_END_CONTENT\n"), [Event::Oversized(bytes)]);
    }
}
