//! What every notebook cell finds loaded: `qrnn` and `tch`, and the cell's side of the kernel.
//!
//! The kernel's compiler step (`compiler.rs`) writes calls of these functions into cells; users
//! never name this crate.

pub extern crate qrnn;
pub extern crate tch;

pub mod store;

use std::fmt::{Debug, Display};
use std::io::Write;
use std::panic::{Location, PanicHookInfo};

use serde_json::{Value, json};

/// What a marker line begins with: the rest of the line is a JSON object.
const MARK: &str = "\u{1e}qrnn-jupyter ";

/// Tells the kernel, in order with what the cell prints.
fn tell(message: &Value) {
    let mut out = std::io::stdout().lock();
    // Where the kernel is gone there is nobody to tell.
    let _ = writeln!(out, "{MARK}{message}").and_then(|()| out.flush());
}

/// Has panics reported to the kernel instead of printed. Called once, before the first cell.
#[unsafe(no_mangle)]
pub extern "C" fn qrnn_preload_start() {
    // Cells run on the thread that this is called on.
    let cells = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        let text = panic.payload_as_str().unwrap_or("Box<dyn Any>");
        let current = std::thread::current();
        tell(&json!({
            "msg_type": "panic",
            "text": text,
            "thread": current.name(),
            "main": current.id() == cells,
            "at": panic.location().map(place),
        }));
    }));
}

/// Sends on what the cell printed without a line's end.
#[unsafe(no_mangle)]
pub extern "C" fn qrnn_preload_flush() {
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
}

fn place(at: &Location<'_>) -> Value {
    json!({ "file": at.file(), "line": at.line(), "column": at.column() })
}

/// An error that `?` handed to the end of the cell.
#[track_caller]
pub fn failed<E: Display>(error: &E) {
    tell(&json!({
        "msg_type": "failed",
        "type": std::any::type_name::<E>(),
        "text": error.to_string(),
        "at": place(Location::caller()),
    }));
}

/// A panic that reached the cell's end: what was panicked with, where no panic hook was told.
pub fn caught(payload: &(dyn std::any::Any + Send)) {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    tell(&json!({ "msg_type": "caught", "text": text.unwrap_or("Box<dyn Any>") }));
}

/// Shows the value at a cell's end by its text, where it has no other form.
pub fn show_ending(text: &str) {
    tell(&json!({ "msg_type": "ending" }));
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "EVCXR_BEGIN_CONTENT text/plain\n{text}\nEVCXR_END_CONTENT");
}

/// The value at a cell's end is about to be shown.
pub trait Ending {
    fn qrnn_ending(&self) -> &Self {
        tell(&json!({ "msg_type": "ending" }));
        self
    }
}

impl<T: ?Sized> Ending for T {}

/// Shows a value that has no `evcxr_display` of its own, which would take precedence.
pub trait Show {
    fn evcxr_display(&self);
}

impl<T: Debug + ?Sized> Show for T {
    fn evcxr_display(&self) {
        // The value of a loop, or of an expression whose work was its effect.
        if std::any::type_name::<T>() == "()" {
            return;
        }
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "EVCXR_BEGIN_CONTENT text/plain\n{self:?}\nEVCXR_END_CONTENT");
    }
}

/// What every cell brings into scope.
pub mod cell {
    pub use super::{Ending as _, Show as _};
}

/// No type implements it: the compiler's complaint names the type of a cell's variable.
#[diagnostic::on_unimplemented(message = "qrnn-jupyter-type {Self}")]
pub trait Named {}

/// Asks the compiler for a type, by being refused.
pub fn name_type<T: Named + ?Sized>(_: &T) {}

/// What a function returns, for [`Never`].
pub trait Returning {
    type Value;
}

impl<R> Returning for fn() -> R {
    type Value = R;
}

/// The type `!`, which has no other name outside of signatures: a variable may hold
/// `Result<!, Box<dyn Any + Send>>`.
pub type Never = <fn() -> ! as Returning>::Value;

/// Asks the notebook's user for a line of text.
///
/// # Errors
/// Where there is nobody to ask.
pub fn input(prompt: &str) -> std::io::Result<String> {
    tell(&json!({ "msg_type": "input", "prompt": prompt, "password": false }));
    answer()
}

/// As [`input`], with the answer hidden while it is typed.
///
/// # Errors
/// Where there is nobody to ask.
pub fn password(prompt: &str) -> std::io::Result<String> {
    tell(&json!({ "msg_type": "input", "prompt": prompt, "password": true }));
    answer()
}

fn answer() -> std::io::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
