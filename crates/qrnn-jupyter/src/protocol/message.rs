//! Messages of the Jupyter protocol, as the kernel reads and writes them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jupyter_protocol::{Header, JupyterMessage, UnknownMessage};
use jupyter_zmq_client::RawMessage;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

/// A request whose signature was right.
#[derive(Debug, Clone)]
pub struct Request {
    pub identities: Vec<bytes::Bytes>,
    pub header: Header,
    pub content: Value,
    /// When the kernel received it.
    pub arrived: Instant,
}

impl Request {
    /// What is wrong with it, where it is none.
    pub fn read(raw: RawMessage) -> Result<Self, String> {
        let [header, _, _, content, ..] = raw.jparts.as_slice() else {
            return Err("too few parts".into());
        };
        let header = serde_json::from_slice(header).map_err(|e| format!("its header: {e}"))?;
        let content: Value =
            serde_json::from_slice(content).map_err(|e| format!("its content: {e}"))?;
        let arrived = Instant::now();
        Ok(Self { identities: raw.zmq_identities, header, content, arrived })
    }

    pub fn kind(&self) -> &str {
        &self.header.msg_type
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.content.get(name)?.as_str()
    }

    pub fn flag(&self, name: &str, otherwise: bool) -> bool {
        self.content.get(name).and_then(Value::as_bool).unwrap_or(otherwise)
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.content.get(name)?.as_i64()
    }

    /// An answer to it, of the kind that belongs to its own.
    pub fn reply(&self, content: Value) -> JupyterMessage {
        let kind = match self.kind().strip_suffix("_request") {
            Some(stem) => format!("{stem}_reply"),
            None => "error".into(),
        };
        new(&kind, content, Some(&self.header), self.identities.clone())
    }

    /// An answer that says what is wrong with it.
    pub fn refusal(&self, name: &str, value: &str) -> JupyterMessage {
        self.reply(json!({
            "status": "error", "ename": name, "evalue": value, "traceback": [],
        }))
    }
}

pub fn new(
    kind: &str,
    content: Value,
    parent: Option<&Header>,
    identities: Vec<bytes::Bytes>,
) -> JupyterMessage {
    let content = UnknownMessage { msg_type: kind.into(), content };
    let mut message =
        JupyterMessage::new(jupyter_protocol::JupyterMessageContent::UnknownMessage(content), None);
    message.header.username = "qrnn".into();
    message.parent_header = parent.cloned();
    message.zmq_identities = identities;
    message
}

/// Sends to all who listen (IOPub).
#[derive(Debug, Clone)]
pub struct Publisher {
    messages: UnboundedSender<JupyterMessage>,
    /// The request that runs a cell.
    running: Arc<Mutex<Option<Header>>>,
}

impl Publisher {
    pub fn new(messages: UnboundedSender<JupyterMessage>) -> Self {
        Self { messages, running: Arc::default() }
    }

    pub fn publish(&self, kind: &str, content: Value, parent: Option<&Header>) {
        // The topic, for those who listen to one kind only.
        let topic = vec![bytes::Bytes::copy_from_slice(kind.as_bytes())];
        // Where the sockets are closed the kernel is about to end.
        let _ = self.messages.send(new(kind, content, parent, topic));
    }

    pub fn status(&self, state: &str, parent: Option<&Header>) {
        self.publish("status", json!({ "execution_state": state }), parent);
    }

    fn running(&self) -> MutexGuard<'_, Option<Header>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cell begins to run.
    pub fn busy(&self, request: &Header) {
        *self.running() = Some(request.clone());
        self.status("busy", Some(request));
    }

    /// The cell has ended.
    pub fn idle(&self, request: &Header) {
        let mut running = self.running();
        *running = None;
        self.status("idle", Some(request));
    }

    /// What was asked for beside a cell is done. Front ends show the last status of all, so that of
    /// a running cell is said again.
    pub fn idle_beside(&self, request: &Header) {
        let running = self.running();
        self.status("idle", Some(request));
        if let Some(cell) = running.as_ref() {
            self.status("busy", Some(cell));
        }
    }
}
