//! The kernel: five sockets, and one evaluator behind them.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jupyter_protocol::JupyterMessage;
use jupyter_zmq_client::{
    Connection, KernelHeartbeatConnection, KernelIoPubXPubConnection, RawMessage,
    RouterRecvConnection, RouterSendConnection,
};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zeromq::{SocketRecv, SocketSend};

use crate::child::interrupt::counter::{self, Interrupts};
use crate::child::interrupt::interrupter::Interrupter;
use crate::child::stdin::Asker;
use crate::child::workdir::Session;
use crate::error::{Error, Result};
use crate::frontend::shell::{Prepared, Shell};
use crate::log;
use crate::protocol::connection;
use crate::protocol::message::{self, Publisher, Request};
use crate::rust_analyzer::Known;
use crate::toolchain::environment;

/// A listener that takes nothing for so long misses a message.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is left to send has this long when the kernel ends.
const FAREWELL: Duration = Duration::from_millis(200);

/// Runs until a shutdown request. What keeps cells from running is told in the reply to each of them:
/// a kernel that ended instead would leave a line in the server's log, where nobody looks.
///
/// # Errors
/// Where the connection file or the sockets cannot be used.
pub fn run(connection_file: &Path) -> Result<ExitCode> {
    let signals = Signals::listen()?;
    let info = connection::read(connection_file)?;
    let (prepared, interrupts) = match prepare() {
        Ok((prepared, interrupts)) => (Ok(prepared), Some(interrupts)),
        Err(error) => {
            log::line(&error.to_string());
            (Err(error.to_string()), None)
        }
    };
    let interrupter = Interrupter::new(interrupts);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::system("start"))?;
    runtime.block_on(serve(info, prepared, interrupter, signals))
}

/// Before any thread has started.
fn prepare() -> Result<(Prepared, Interrupts)> {
    let program = std::env::current_exe().map_err(Error::system("find this program"))?;
    let session = Arc::new(Session::create(&program)?);
    let interrupts = Interrupts::create(&session.counter())?;
    environment::prepare(&program, session.folder(), interrupts.path())?;
    debug_assert!(std::env::var_os(counter::VARIABLE).is_some());
    // Programs that a cell leaves behind become this process's children.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    Ok((Prepared { program, session }, interrupts))
}

async fn serve(
    info: jupyter_protocol::ConnectionInfo,
    prepared: std::result::Result<Prepared, String>,
    interrupter: Arc<Interrupter>,
    signals: Signals,
) -> Result<ExitCode> {
    let session = prepared.as_ref().ok().map(|prepared| prepared.session.clone());
    let name = session.as_ref().and_then(|session| session.folder().file_name());
    let id = name.map_or_else(|| std::process::id().to_string(), |n| n.to_string_lossy().into());
    let sockets = connection::open(&info, &id).await?;
    let (iopub, published) = unbounded_channel();
    let publisher = Publisher::new(iopub);
    let (shell_out, shell_replies) = unbounded_channel();
    let (control_out, control_replies) = unbounded_channel();
    let (stdin_out, questions) = unbounded_channel();
    let asker = Arc::new(Asker::new(stdin_out, publisher.clone()));

    tokio::spawn(publish(sockets.iopub, published));
    tokio::spawn(beat(sockets.heartbeat));
    let (shell_writer, shell_reader) = sockets.shell.split();
    tokio::spawn(send(shell_writer, shell_replies));
    let (control_writer, control_reader) = sockets.control.split();
    tokio::spawn(send(control_writer, control_replies));
    let (stdin_writer, stdin_reader) = sockets.stdin.split();
    tokio::spawn(send(stdin_writer, questions));
    tokio::spawn(hear_answers(stdin_reader, asker.clone()));

    publisher.status("starting", None);
    let waiting = asker.clone();
    let shell = Shell {
        prepared,
        publisher: publisher.clone(),
        replies: shell_out,
        asker,
        interrupter: interrupter.clone(),
    };
    let (requests, known, ended) = shell.start().map_err(Error::system("start a thread"))?;
    tokio::spawn(hear_shell(shell_reader, requests, known));
    let interrupt = Interrupt { interrupter, asker: waiting };
    let control = hear_control(control_reader, control_out, publisher, &interrupt);
    tokio::select! {
        () = control => {}
        _ = ended => {}
        () = parent_gone() => log::line("the program that started this kernel has ended"),
        () = signals.until_the_end(&interrupt) => {}
    }
    if let Some(session) = session {
        session.end_processes();
    }
    tokio::time::sleep(FAREWELL).await;
    // Not by returning: threads are at work. The guard removes the session's folder.
    std::process::exit(0)
}

/// Sends to all who listen, and welcomes those who begin to.
async fn publish(
    mut iopub: KernelIoPubXPubConnection,
    mut messages: UnboundedReceiver<JupyterMessage>,
) {
    loop {
        tokio::select! {
            // Subscriptions take effect only as they are received, so they come first.
            biased;
            event = iopub.socket.recv() => match event {
                Ok(event) => {
                    if let Some(jupyter_zmq_client::SubscriptionEvent::Subscribe(topic)) =
                        jupyter_zmq_client::parse_subscription_message(&event)
                    {
                        let name = vec![bytes::Bytes::copy_from_slice(topic.as_bytes())];
                        let content = json!({ "subscription": topic });
                        give(&mut iopub, message::new("iopub_welcome", content, None, name)).await;
                    }
                }
                // One listener is gone; there may be none left, so do not spin.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            next = messages.recv() => match next {
                Some(message) => give(&mut iopub, message).await,
                None => return,
            },
        }
    }
}

async fn give(iopub: &mut KernelIoPubXPubConnection, message: JupyterMessage) {
    match tokio::time::timeout(PATIENCE, iopub.send(message)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::line(&format!("a message was not published: {error}")),
        Err(_) => log::line("a message was not published: a listener takes nothing"),
    }
}

async fn beat(mut heartbeat: KernelHeartbeatConnection) {
    loop {
        match heartbeat.socket.recv().await {
            // What came goes back.
            Ok(beat) => {
                let _ = heartbeat.socket.send(beat).await;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn send(mut socket: RouterSendConnection, mut messages: UnboundedReceiver<JupyterMessage>) {
    while let Some(message) = messages.recv().await {
        if let Err(error) = socket.send(message).await {
            log::line(&format!("a reply was not sent: {error}"));
        }
    }
}

/// The next request with a right signature; others leave a line in the log.
async fn next(socket: &mut RouterRecvConnection) -> Request {
    let Connection { socket, mac, .. } = socket;
    loop {
        let frames = match socket.recv().await {
            Ok(frames) => frames,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let raw = RawMessage::from_multipart(frames, mac);
        match raw.map_err(|error| error.to_string()).and_then(Request::read) {
            Ok(request) => return request,
            Err(problem) => log::line(&format!("a message was ignored: {problem}")),
        }
    }
}

/// Cells wait for each other; completion and inspection do not wait for them.
async fn hear_shell(
    mut socket: RouterRecvConnection,
    requests: std::sync::mpsc::Sender<Request>,
    known: Known,
) {
    loop {
        let request = next(&mut socket).await;
        if !known.takes(&request) && requests.send(request).is_err() {
            return;
        }
    }
}

async fn hear_answers(mut socket: RouterRecvConnection, asker: Arc<Asker>) {
    loop {
        let answer = next(&mut socket).await;
        if answer.kind() == "input_reply" {
            asker.answer(answer.text("value").unwrap_or_default());
        }
    }
}

/// What an interrupt reaches.
struct Interrupt {
    interrupter: Arc<Interrupter>,
    asker: Arc<Asker>,
}

impl Interrupt {
    /// `sent` is the sender's clock, in microseconds.
    fn ask(&self, sent: i64) {
        self.interrupter.interrupt(sent);
        // Code that waits for a line gets an empty one.
        self.asker.answer("");
    }
}

/// Until a request to end.
async fn hear_control(
    mut socket: RouterRecvConnection,
    replies: UnboundedSender<JupyterMessage>,
    publisher: Publisher,
    interrupt: &Interrupt,
) {
    loop {
        let request = next(&mut socket).await;
        publisher.status("busy", Some(&request.header));
        let reply = match request.kind() {
            "interrupt_request" => {
                interrupt.ask(request.header.date.timestamp_micros());
                request.reply(json!({ "status": "ok" }))
            }
            "kernel_info_request" => request.reply(crate::frontend::shell::kernel_info()),
            "shutdown_request" => {
                let restart = request.flag("restart", false);
                request.reply(json!({ "status": "ok", "restart": restart }))
            }
            "debug_request" => request.reply(json!({
                "type": "response",
                "request_seq": request.content["seq"],
                "command": request.content["command"],
                "success": false,
                "message": "this kernel has no debugger",
            })),
            kind => request.refusal("UnknownRequest", &format!("{kind} is no control request")),
        };
        let _ = replies.send(reply);
        publisher.status("idle", Some(&request.header));
        if request.kind() == "shutdown_request" {
            return;
        }
    }
}

/// A Jupyter that was killed cannot say goodbye.
async fn parent_gone() {
    let watched = std::env::var_os("JPY_PARENT_PID").is_some_and(|id| !id.is_empty());
    let parent = rustix::process::getppid();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if watched && rustix::process::getppid() != parent {
            return;
        }
    }
}

/// SIGTERM ends the kernel; SIGINT, from a front end that knows no messages, interrupts the cell.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on signals do not end the process. What comes before somebody waits is kept.
    fn listen() -> Result<Self> {
        // Without threads, which must not be there while the environment is prepared. The system's
        // handlers outlive this runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(Error::system("start"))?;
        let listen = async {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        };
        runtime.block_on(listen).map_err(Error::system::<std::io::Error>("listen to signals"))
    }

    async fn until_the_end(mut self, interrupt: &Interrupt) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => {
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                    let now = now.unwrap_or_default().as_micros();
                    interrupt.ask(i64::try_from(now).unwrap_or_default());
                }
            }
        }
    }
}
