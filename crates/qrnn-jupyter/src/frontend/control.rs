//! The control channel: interrupt, shutdown, kernel info. Interrupts may also come as SIGINT.

use std::time::SystemTime;

use jupyter_protocol::JupyterMessage;
use jupyter_zmq_client::RouterRecvConnection;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

use crate::error::{Error, Result};
use crate::evcxr_backend::backend::Connections;
use crate::frontend::kernel_info::kernel_info;
use crate::protocol::sockets::next_request;

/// `sent` is the sender's time, in microseconds.
fn interrupt(connections: &Connections, sent: i64) {
    connections.interrupter.interrupt(sent);
    // Code that waits for input gets an empty line.
    connections.stdin.answer("");
}

/// Answers requests until a shutdown request.
pub async fn answer_requests(
    mut socket: RouterRecvConnection,
    replies: UnboundedSender<JupyterMessage>,
    connections: &Connections,
) {
    let publisher = &connections.publisher;
    loop {
        let request = next_request(&mut socket).await;
        publisher.status("busy", Some(&request.header));
        let reply = match request.kind() {
            "interrupt_request" => {
                interrupt(connections, request.header.date.timestamp_micros());
                request.reply(json!({ "status": "ok" }))
            }
            "kernel_info_request" => request.reply(kernel_info()),
            "shutdown_request" => request.shutdown_reply(),
            "debug_request" => request.reply(json!({
                "type": "response",
                "request_seq": request.content["seq"],
                "command": request.content["command"],
                "success": false,
                "message": "this kernel has no debugger",
            })),
            kind => {
                let problem = format!("{kind} is not a control request");
                request.error_reply("UnknownRequest", &problem)
            }
        };
        let _ = replies.send(reply);
        publisher.status("idle", Some(&request.header));
        if request.kind() == "shutdown_request" {
            return;
        }
    }
}

/// SIGTERM ends the kernel. SIGINT interrupts the cell, for front ends without interrupt messages.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on, these signals do not end the process. Early ones are kept.
    pub fn listen() -> Result<Self> {
        // No threads, because the environment is not prepared yet. The handlers outlive the runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(Error::system("start"))?;
        let listen = async {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        };
        runtime.block_on(listen).map_err(Error::system::<std::io::Error>("listen for signals"))
    }

    pub async fn handle_until_termination(mut self, connections: &Connections) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => {
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                    let now = now.unwrap_or_default().as_micros();
                    interrupt(connections, i64::try_from(now).unwrap_or_default());
                }
            }
        }
    }
}
