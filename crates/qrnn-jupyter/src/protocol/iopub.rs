//! The IOPub channel: messages to every front end that listens.

use std::sync::Arc;

use jupyter_protocol::{Header, JupyterMessage};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use crate::protocol::message;

#[derive(Debug, Clone)]
pub struct Publisher {
    messages: UnboundedSender<JupyterMessage>,
    /// The execute_request whose cell is running.
    running: Arc<Mutex<Option<Header>>>,
}

impl Publisher {
    pub fn new(messages: UnboundedSender<JupyterMessage>) -> Self {
        Self { messages, running: Arc::default() }
    }

    pub fn publish(&self, kind: &str, content: Value, parent: Option<&Header>) {
        // The message type is also the topic that a listener may subscribe to.
        let topic = vec![bytes::Bytes::copy_from_slice(kind.as_bytes())];
        // Fails only while the kernel shuts down.
        let _ = self.messages.send(message::new(kind, content, parent, topic));
    }

    pub fn status(&self, state: &str, parent: Option<&Header>) {
        self.publish("status", json!({ "execution_state": state }), parent);
    }

    /// A request of the shell thread begins; it may run a cell.
    pub fn busy(&self, request: &Header) {
        *self.running.lock() = Some(request.clone());
        self.status("busy", Some(request));
    }

    pub fn idle(&self, request: &Header) {
        let mut running = self.running.lock();
        *running = None;
        self.status("idle", Some(request));
    }

    /// A request that was answered while a cell runs is done. Front ends show the last status they
    /// received, so the cell's "busy" is repeated.
    pub fn idle_during_cell(&self, request: &Header) {
        let running = self.running.lock();
        self.status("idle", Some(request));
        if let Some(cell) = running.as_ref() {
            self.status("busy", Some(cell));
        }
    }
}
