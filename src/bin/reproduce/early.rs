//! Runs commands that need no tensors before libtorch initializes, which takes longer than they do:
//! `count`, help and errors in flags.
//!
//! The loader calls the functions in a program's `.preinit_array` before the initializers of any
//! library. On systems without it, `main` does the same work.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt as _;
use std::panic::catch_unwind;

use clap::Parser as _;

use crate::{Cli, Command, count, preset};
use qrnn::command_line::{finish, print_clap_error};

type Early = unsafe extern "C" fn(c_int, *const *const c_char);

// SAFETY: the loader of the GNU C library calls this function once, with main's arguments, after it has
// mapped and bound all libraries. The function calls only the C library.
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

unsafe extern "C" fn before_libtorch(count: c_int, arguments: *const *const c_char) {
    // SAFETY: installs no handler. Rust's runtime ignores SIGPIPE too, but only later: a closed standard
    // error would kill this process before it prints its result.
    unsafe { signal(SIGPIPE, SIG_IGN) };
    let arguments: Vec<OsString> = (0..count as usize)
        // SAFETY: the loader passes `count` C strings.
        .map(|i| unsafe { CStr::from_ptr(*arguments.add(i)) })
        .map(|argument| OsString::from_vec(argument.to_bytes().to_vec()))
        .collect();
    if let Ok(Some(status)) = catch_unwind(|| run_without_tensors(arguments)) {
        // SAFETY: ends the process. `exit` would run finalizers of libraries that were not initialized.
        unsafe { _exit(c_int::from(status)) }
    }
}

/// Runs a command that needs no tensors and returns its exit status. `None` for other commands and for
/// wrong presets, which `main` reports.
fn run_without_tensors(arguments: Vec<OsString>) -> Option<u8> {
    let arguments = preset::expand(arguments.into_iter()).ok()?;
    match Cli::try_parse_from(arguments) {
        Ok(Cli { command: Some(Command::Count(args)), .. }) => {
            Some(finish(args.json, count::run(args)))
        }
        Ok(_) => None,
        // --help and --version arrive here too.
        Err(error) => Some(print_clap_error(&error)),
    }
}
