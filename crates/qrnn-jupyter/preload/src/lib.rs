//! The library that every notebook cell finds loaded: `qrnn`, `tch`, and the functions by which a
//! cell reports to the kernel.
//!
//! The kernel's rustc wrapper (`rustc/generated_code.rs`) writes calls of these functions into
//! cells. Users call [`input`] and [`password`] only.

pub extern crate qrnn;
pub extern crate tch;

pub mod store;

use std::fmt::{Debug, Display};
use std::io::Write;
use std::panic::{Location, PanicHookInfo};

use serde_json::{Value, json};

/// The start of a marker line; a JSON object follows.
const MARK: &str = "\u{1e}qrnn-jupyter ";

/// Sends a message to the kernel, in order with what the cell prints.
fn send(message: &Value) {
    let mut out = std::io::stdout().lock();
    // Fails if the kernel has ended.
    let _ = writeln!(out, "{MARK}{message}").and_then(|()| out.flush());
}

/// Sends a value as plain text.
fn send_text(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "EVCXR_BEGIN_CONTENT text/plain\n{text}\nEVCXR_END_CONTENT");
}

/// Reports panics to the kernel instead of printing them. Called once, before the first cell.
#[unsafe(no_mangle)]
pub extern "C" fn qrnn_preload_start() {
    // Cells run on this thread.
    let main = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        let text = panic.payload_as_str().unwrap_or("Box<dyn Any>");
        let current = std::thread::current();
        send(&json!({
            "msg_type": "panic",
            "text": text,
            "thread": current.name(),
            "main": current.id() == main,
            "at": panic.location().map(location),
        }));
    }));
}

/// Sends what the cell printed without a line break at its end.
#[unsafe(no_mangle)]
pub extern "C" fn qrnn_preload_flush() {
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
}

fn location(at: &Location<'_>) -> Value {
    json!({ "file": at.file(), "line": at.line(), "column": at.column() })
}

/// Reports an error that `?` returned from the cell.
#[track_caller]
pub fn failed<E: Display>(error: &E) {
    send(&json!({
        "msg_type": "failed",
        "type": std::any::type_name::<E>(),
        "text": error.to_string(),
        "at": location(Location::caller()),
    }));
}

/// Reports a panic that ended the cell. It did not call the panic hook if it was resumed.
pub fn caught(payload: &(dyn std::any::Any + Send)) {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    send(&json!({ "msg_type": "caught", "text": text.unwrap_or("Box<dyn Any>") }));
}

/// Shows the value at the cell's end as text.
pub fn show_ending(text: &str) {
    send(&json!({ "msg_type": "ending" }));
    send_text(text);
}

/// Announces that the value at the cell's end is shown next.
pub trait Ending {
    fn qrnn_ending(&self) -> &Self {
        send(&json!({ "msg_type": "ending" }));
        self
    }
}

impl<T: ?Sized> Ending for T {}

/// Shows values whose type has no `evcxr_display` method; an inherent method has precedence.
pub trait Show {
    fn evcxr_display(&self);
}

impl<T: Debug + ?Sized> Show for T {
    fn evcxr_display(&self) {
        // The value of a loop, for example.
        if std::any::type_name::<T>() != "()" {
            send_text(format_args!("{self:?}"));
        }
    }
}

/// Every cell imports this.
pub mod cell {
    pub use super::{Ending as _, Show as _};
}

/// No type implements this trait, so rustc's error message contains the type.
#[diagnostic::on_unimplemented(message = "qrnn-jupyter-type {Self}")]
pub trait Named {}

/// A call fails to compile, with the type of the argument in the message.
pub fn name_type<T: Named + ?Sized>(_: &T) {}

/// The return type of a function, for [`Never`].
pub trait Returning {
    type Value;
}

impl<R> Returning for fn() -> R {
    type Value = R;
}

/// The type `!`, which can only be written as a return type. A variable may have the type
/// `Result<!, Box<dyn Any + Send>>`.
pub type Never = <fn() -> ! as Returning>::Value;

/// Asks the notebook's user for a line of text.
///
/// # Errors
/// Reading standard input failed.
pub fn input(prompt: &str) -> std::io::Result<String> {
    request_line(prompt, false)
}

/// Like [`input`], but the text is hidden while it is typed.
///
/// # Errors
/// Reading standard input failed.
pub fn password(prompt: &str) -> std::io::Result<String> {
    request_line(prompt, true)
}

fn request_line(prompt: &str, password: bool) -> std::io::Result<String> {
    send(&json!({ "msg_type": "input", "prompt": prompt, "password": password }));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
