//! Starts the kernel, connects its parts to the sockets, and ends it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jupyter_protocol::ConnectionInfo;
use jupyter_zmq_client::RouterRecvConnection;
use tokio::sync::mpsc::unbounded_channel;

use crate::child::interrupt::counter::InterruptCounter;
use crate::child::interrupt::interrupter::Interrupter;
use crate::child::stdin::StdinChannel;
use crate::child::workdir::Workdir;
use crate::error::{Error, Result};
use crate::evcxr_backend::backend::Connections;
use crate::frontend::control::{self, Signals};
use crate::frontend::shell::{self, Prepared};
use crate::protocol::iopub::Publisher;
use crate::protocol::message::Request;
use crate::protocol::{connection, sockets};
use crate::rust_analyzer::service::{Service, ServiceHandle};
use crate::terminal;
use crate::toolchain::environment;

/// How long the last messages have to be sent when the kernel ends.
const FLUSH_TIME: Duration = Duration::from_millis(200);

/// Runs until a shutdown request. If cells cannot run, each cell's reply explains why: if the kernel
/// ended instead, the reason would only be in the server's log.
pub fn run(connection_file: &Path) -> Result<ExitCode> {
    let signals = Signals::listen()?;
    let info = connection::read(connection_file)?;
    let (prepared, counter) = match prepare() {
        Ok((prepared, counter)) => (Ok(prepared), Some(counter)),
        Err(error) => {
            terminal::log(&error);
            (Err(error.to_string()), None)
        }
    };
    let interrupter = Interrupter::new(counter);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::system("start"))?;
    runtime.block_on(serve(info, prepared, interrupter, signals))
}

/// Must be called before any thread starts.
fn prepare() -> Result<(Prepared, InterruptCounter)> {
    let program = std::env::current_exe().map_err(Error::system("find this program"))?;
    let workdir = Arc::new(Workdir::create(&program)?);
    let counter = InterruptCounter::create(&workdir.counter())?;
    environment::prepare(&program, workdir.path(), &workdir.counter())?;
    // Programs that a cell leaves behind become children of the kernel.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    Ok((Prepared { program, workdir }, counter))
}

async fn serve(
    info: ConnectionInfo,
    prepared: std::result::Result<Prepared, String>,
    interrupter: Arc<Interrupter>,
    signals: Signals,
) -> Result<ExitCode> {
    let workdir = prepared.as_ref().ok().map(|prepared| prepared.workdir.clone());
    let name = workdir.as_ref().and_then(|workdir| workdir.path().file_name());
    let id = name.map_or_else(|| std::process::id().to_string(), |n| n.to_string_lossy().into());
    let sockets = connection::open(&info, &id).await?;
    let (iopub, published) = unbounded_channel();
    let publisher = Publisher::new(iopub);
    let (shell_out, shell_replies) = unbounded_channel();
    let (control_out, control_replies) = unbounded_channel();
    let (stdin_out, stdin_requests) = unbounded_channel();
    let stdin = Arc::new(StdinChannel::new(stdin_out, publisher.clone()));

    tokio::spawn(sockets::publish(sockets.iopub, published));
    tokio::spawn(sockets::echo_heartbeats(sockets.heartbeat));
    let (shell_writer, shell_reader) = sockets.shell.split();
    tokio::spawn(sockets::send_all(shell_writer, shell_replies));
    let (control_writer, control_reader) = sockets.control.split();
    tokio::spawn(sockets::send_all(control_writer, control_replies));
    let (stdin_writer, stdin_reader) = sockets.stdin.split();
    tokio::spawn(sockets::send_all(stdin_writer, stdin_requests));
    tokio::spawn(read_stdin(stdin_reader, stdin.clone()));

    publisher.status("starting", None);
    let place = prepared.as_ref().ok();
    let place = place.map(|place| (place.program.clone(), place.workdir.path().to_owned()));
    let started =
        Service::start(place, publisher.clone(), shell_out.clone()).and_then(|analysis| {
            let connections = Connections { publisher, stdin, interrupter, analysis };
            let (requests, ended) = shell::start(prepared, connections.clone(), shell_out)?;
            Ok((connections, requests, ended))
        });
    let (connections, requests, ended) = started.map_err(Error::system("start a thread"))?;
    tokio::spawn(read_shell(shell_reader, requests, connections.analysis.clone()));
    let control = control::answer_requests(control_reader, control_out, &connections);
    tokio::select! {
        () = control => {}
        _ = ended => {}
        () = parent_ended() => terminal::log("the program that started this kernel has ended"),
        () = signals.handle_until_termination(&connections) => {}
    }
    if let Some(workdir) = workdir {
        workdir.kill_processes();
    }
    tokio::time::sleep(FLUSH_TIME).await;
    // Does not wait for threads. The guard removes the workdir.
    std::process::exit(0)
}

/// Completion and inspection do not wait for cells.
async fn read_shell(
    mut socket: RouterRecvConnection,
    requests: std::sync::mpsc::Sender<Request>,
    analysis: ServiceHandle,
) {
    loop {
        let request = sockets::next_request(&mut socket).await;
        if !analysis.accept(&request) && requests.send(request).is_err() {
            return;
        }
    }
}

async fn read_stdin(mut socket: RouterRecvConnection, stdin: Arc<StdinChannel>) {
    loop {
        let reply = sockets::next_request(&mut socket).await;
        if reply.kind() == "input_reply" {
            stdin.answer(reply.text("value").unwrap_or_default());
        }
    }
}

/// Returns when Jupyter was killed and could not send a shutdown request.
async fn parent_ended() {
    let watched = std::env::var_os("JPY_PARENT_PID").is_some_and(|id| !id.is_empty());
    let parent = rustix::process::getppid();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if watched && rustix::process::getppid() != parent {
            return;
        }
    }
}
