//! What needs no tensors is done before libtorch wakes up: its initializers take 0.2 s, and a table of
//! operations or a word about a wrong flag should not wait for them.
//!
//! The loader calls the functions in a program's `.preinit_array` before the initializers of any
//! library. Where there is no such thing, `main` does the same work later.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt as _;
use std::panic::catch_unwind;

use clap::Parser as _;

use crate::brought_torch::{self, Environment};
use crate::{Cli, Command, count, preset};
use qrnn::command_line::{explain, finish};

type Early = unsafe extern "C" fn(c_int, *const *const c_char, *mut *const c_char);

// SAFETY: the loader of the GNU C library calls what is here with main's arguments, once, when all
// libraries are mapped and bound. Of those, only the C library is used before it returns or exits.
#[used]
#[unsafe(link_section = ".preinit_array")]
static BEFORE_LIBTORCH: Early = before_libtorch;

unsafe extern "C" {
    fn _exit(status: c_int) -> !;
    fn signal(number: c_int, handler: usize) -> usize;
}

/// signal(7): the number is the same on every architecture of Linux that Rust supports.
const SIGPIPE: c_int = 13;
const SIG_IGN: usize = 1;

unsafe extern "C" fn before_libtorch(
    count: c_int,
    arguments: *const *const c_char,
    variables: *mut *const c_char,
) {
    // SAFETY: sets no handler. Rust's runtime ignores this signal too, but begins later: until then a
    // closed standard error would end the process before its result is printed.
    unsafe { signal(SIGPIPE, SIG_IGN) };
    let arguments: Vec<OsString> = (0..count as usize)
        // SAFETY: the loader passes `count` C strings.
        .map(|i| unsafe { CStr::from_ptr(*arguments.add(i)) })
        .map(|argument| OsString::from_vec(argument.to_bytes().to_vec()))
        .collect();
    // SAFETY: the loader passes the process's own list, which the C library has not read yet.
    let mut environment = unsafe { Environment::new(variables) };
    let status = catch_unwind(move || match brought_torch::stage(&mut environment) {
        // It was only asked whether the libraries fit.
        brought_torch::Stage::Trial(fits) => Some(u8::from(!fits)),
        brought_torch::Stage::Chosen => without_tensors(arguments),
        brought_torch::Stage::First => {
            let status = without_tensors(arguments.clone());
            if status.is_none() {
                brought_torch::choose(&arguments, &environment);
            }
            status
        }
    });
    if let Ok(Some(status)) = status {
        // SAFETY: ends the process. `exit` would run the finalisers of libraries that never began.
        unsafe { _exit(c_int::from(status)) }
    }
}

/// Does what needs no tensors, and returns the exit status; `None` for all else, and for arguments
/// whose fault is for `main` to tell.
fn without_tensors(arguments: Vec<OsString>) -> Option<u8> {
    let arguments = preset::expand(arguments.into_iter()).ok()?;
    match Cli::try_parse_from(arguments) {
        Ok(Cli { command: Some(Command::Count(args)), .. }) => {
            Some(finish(args.json, count::run(args)))
        }
        Ok(_) => None,
        // --help and --version are among them.
        Err(said) => Some(explain(&said)),
    }
}
