//! Tasks that read and write the kernel's sockets.

use std::time::Duration;

use jupyter_protocol::JupyterMessage;
use jupyter_zmq_client::{
    Connection, KernelHeartbeatConnection, KernelIoPubXPubConnection, RawMessage,
    RouterRecvConnection, RouterSendConnection, SubscriptionEvent, parse_subscription_message,
};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use zeromq::{SocketRecv, SocketSend};

use crate::protocol::message::{self, Request};
use crate::terminal;

/// A listener that blocks for this long misses the message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A failing socket may fail again at once; the pause avoids a busy loop.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Sends messages on IOPub, and a welcome to each new subscriber.
pub async fn publish(
    mut iopub: KernelIoPubXPubConnection,
    mut messages: UnboundedReceiver<JupyterMessage>,
) {
    loop {
        tokio::select! {
            // A subscription takes effect when it is received, so this branch comes first.
            biased;
            event = iopub.socket.recv() => match event {
                Ok(event) => {
                    if let Some(SubscriptionEvent::Subscribe(topic)) =
                        parse_subscription_message(&event)
                    {
                        let name = vec![bytes::Bytes::copy_from_slice(topic.as_bytes())];
                        let content = json!({ "subscription": topic });
                        let welcome = message::new("iopub_welcome", content, None, name);
                        send_published(&mut iopub, welcome).await;
                    }
                }
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            },
            next = messages.recv() => match next {
                Some(message) => send_published(&mut iopub, message).await,
                None => return,
            },
        }
    }
}

async fn send_published(iopub: &mut KernelIoPubXPubConnection, message: JupyterMessage) {
    match tokio::time::timeout(SEND_TIMEOUT, iopub.send(message)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => terminal::log(format_args!("a message was not published: {error}")),
        Err(_) => terminal::log("a message was not published: a listener does not read"),
    }
}

pub async fn echo_heartbeats(mut heartbeat: KernelHeartbeatConnection) {
    loop {
        match heartbeat.socket.recv().await {
            Ok(beat) => _ = heartbeat.socket.send(beat).await,
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

pub async fn send_all(
    mut socket: RouterSendConnection,
    mut messages: UnboundedReceiver<JupyterMessage>,
) {
    while let Some(message) = messages.recv().await {
        if let Err(error) = socket.send(message).await {
            terminal::log(format_args!("a reply was not sent: {error}"));
        }
    }
}

/// The next request with a valid signature. Other messages are logged and dropped.
pub async fn next_request(socket: &mut RouterRecvConnection) -> Request {
    let Connection { socket, mac, .. } = socket;
    loop {
        let Ok(frames) = socket.recv().await else {
            tokio::time::sleep(RETRY_PAUSE).await;
            continue;
        };
        let raw = RawMessage::from_multipart(frames, mac).map_err(|error| error.to_string());
        match raw.and_then(Request::read) {
            Ok(request) => return request,
            Err(problem) => terminal::log(format_args!("a message was ignored: {problem}")),
        }
    }
}
