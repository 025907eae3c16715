//! Messages as the kernel reads and writes them.

use std::time::Instant;

use jupyter_protocol::{Header, JupyterMessage, JupyterMessageContent, UnknownMessage};
use jupyter_zmq_client::RawMessage;
use serde_json::{Value, json};

/// A request with a valid signature.
#[derive(Debug, Clone)]
pub struct Request {
    pub identities: Vec<bytes::Bytes>,
    pub header: Header,
    pub content: Value,
    pub arrived: Instant,
}

impl Request {
    pub fn read(raw: RawMessage) -> Result<Self, String> {
        let [header, _, _, content, ..] = raw.jparts.as_slice() else {
            return Err("too few parts".into());
        };
        let header = serde_json::from_slice(header).map_err(|e| format!("its header: {e}"))?;
        let content = serde_json::from_slice(content).map_err(|e| format!("its content: {e}"))?;
        Ok(Self { identities: raw.zmq_identities, header, content, arrived: Instant::now() })
    }

    pub fn kind(&self) -> &str {
        &self.header.msg_type
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.content.get(name)?.as_str()
    }

    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.content.get(name).and_then(Value::as_bool).unwrap_or(default)
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.content.get(name)?.as_i64()
    }

    /// `x_reply` to an `x_request`.
    pub fn reply(&self, content: Value) -> JupyterMessage {
        let kind = match self.kind().strip_suffix("_request") {
            Some(stem) => format!("{stem}_reply"),
            None => "error".into(),
        };
        new(&kind, content, Some(&self.header), self.identities.clone())
    }

    /// A reply with status "error".
    pub fn error_reply(&self, name: &str, value: &str) -> JupyterMessage {
        self.reply(json!({
            "status": "error", "ename": name, "evalue": value, "traceback": [],
        }))
    }

    pub fn shutdown_reply(&self) -> JupyterMessage {
        self.reply(json!({ "status": "ok", "restart": self.flag("restart", false) }))
    }
}

pub fn new(
    kind: &str,
    content: Value,
    parent: Option<&Header>,
    identities: Vec<bytes::Bytes>,
) -> JupyterMessage {
    let content = UnknownMessage { msg_type: kind.into(), content };
    let mut message = JupyterMessage::new(JupyterMessageContent::UnknownMessage(content), None);
    message.header.username = "qrnn".into();
    message.parent_header = parent.cloned();
    message.zmq_identities = identities;
    message
}
