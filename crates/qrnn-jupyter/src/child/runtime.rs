//! The child process: loads compiled cells and calls them.
//!
//! evcxr starts it and talks to it through its standard input and output. `launch` moves these away
//! and puts pipes to the kernel in their place, so that everything that a cell prints or reads goes
//! directly to or from the kernel.

use std::ffi::c_void;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::child::library_path::LibraryPath;
use crate::child::markers::{ERROR_OCCURRED, MARK, REFUSED};
use crate::env_vars;
use crate::terminal;
use crate::toolchain::environment;

/// Commands of evcxr.
pub const COMMANDS: RawFd = 100;
/// Answers for evcxr.
pub const ANSWERS: RawFd = 101;
/// The kernel's acknowledgements: code may start, or all output of a cell is read.
pub const ACKNOWLEDGEMENTS: RawFd = 102;

const COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";
/// evcxr treats a line that is not UTF-8 as a failure, and forgets the items and dependencies of the
/// cell. After any regular answer it would keep them.
const NOT_UTF8: &[u8] = b"\xff\n";

/// Variables that cells and their programs must not see.
const PRIVATE: [&str; 5] =
    ["EVCXR_IS_RUNTIME", "EVCXR_TMPDIR", "EVCXR_CONFIG_DIR", "RUST_SRC_PATH", env_vars::WRAPPER];

type CellFunction = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

pub fn run() -> ExitCode {
    let library_path = LibraryPath::settle();
    // SAFETY: `launch` opened these descriptors for this process.
    let descriptors = [COMMANDS, ANSWERS, ACKNOWLEDGEMENTS]
        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) });
    let set_flags = |flags: FdFlags| {
        for descriptor in &descriptors {
            let _ = fcntl_setfd(descriptor, flags);
        }
    };
    // Programs that a cell starts must not inherit them.
    set_flags(FdFlags::CLOEXEC);
    if let Some(workdir) = std::env::var_os("EVCXR_TMPDIR") {
        environment::restore(Path::new(&workdir));
    }
    for name in PRIVATE {
        // SAFETY: no other thread has started.
        unsafe { std::env::remove_var(name) };
    }
    // If memory runs out, the system kills this process rather than the kernel.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let preloaded = std::env::var_os(env_vars::PRELOAD).map(PathBuf::from).and_then(|path| {
        let loaded = Preloaded::load(&path);
        if let Err(error) = &loaded {
            // The reason may be another torch on LD_LIBRARY_PATH. A restart needs the descriptors.
            set_flags(FdFlags::empty());
            library_path.restart_with_own_libtorch(&path);
            let (path, error) = (path.display(), load_error(error));
            terminal::eprint(format_args!(
                "cannot load {path}: {error}; run `qrnn-jupyter doctor` for details"
            ));
        }
        loaded.ok()
    });
    let [commands, answers, acknowledgements] = descriptors;
    let mut runtime = Runtime {
        answers: File::from(answers),
        acknowledgements: BufReader::new(File::from(acknowledgements)),
        preloaded,
        cells: vec![],
        variables: std::ptr::null_mut(),
        done: 0,
    };
    for line in BufReader::new(File::from(commands)).lines() {
        if let Err(problem) = line.map_err(Into::into).and_then(|line| runtime.execute(&line)) {
            terminal::eprint(format_args!("the process that runs cells failed: {problem}"));
            return ExitCode::FAILURE;
        }
    }
    // Destructors of cells must not run: what they need may be gone. evcxr does the same.
    std::process::exit(0)
}

/// The error with its source, which is the message of the dynamic linker.
pub fn load_error(error: &libloading::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

/// The preloaded library; never unloaded.
struct Preloaded(Library);

impl Preloaded {
    fn load(path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: our own library; its initializers are libtorch's.
        let preloaded = Self(unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }?);
        preloaded.call(b"qrnn_preload_start\0");
        Ok(preloaded)
    }

    fn call(&self, name: &[u8]) {
        // SAFETY: the functions that are called by name have this type.
        if let Ok(function) = unsafe { self.0.get::<unsafe extern "C" fn()>(name) } {
            // SAFETY: as above.
            unsafe { function() };
        }
    }
}

struct Runtime {
    answers: File,
    acknowledgements: BufReader<File>,
    preloaded: Option<Preloaded>,
    /// Never unloaded, because variables and threads may need their code.
    cells: Vec<Library>,
    variables: *mut c_void,
    /// The number of cells that have run.
    done: u64,
}

impl Runtime {
    fn execute(&mut self, command: &str) -> Result<(), Box<dyn std::error::Error>> {
        let rest = command.strip_prefix("LOAD_AND_RUN ").ok_or("unknown command")?;
        // The path may contain spaces.
        let (path, function) = rest.rsplit_once(' ').ok_or("incomplete command")?;
        // SAFETY: evcxr compiled it for this process.
        let cell = match unsafe { Library::open(Some(path), RTLD_NOW) } {
            Ok(cell) => cell,
            Err(error) => return Ok(self.report_load_error(&load_error(&error))?),
        };
        if self.may_start()? {
            // SAFETY: evcxr generates this function with this type.
            self.variables = unsafe {
                let run = cell.get::<CellFunction>(function.as_bytes())?;
                run(self.variables)
            };
            self.cells.push(cell);
            self.finish()?;
        } else {
            // To evcxr the cell ended at once by `?`, without new or changed variables.
            writeln!(self.answers, "{ERROR_OCCURRED}\n{COMPLETE}")?;
        }
        Ok(())
    }

    /// To evcxr the cell ended at once by `?`, without new or changed variables.
    fn report_load_error(&mut self, problem: &str) -> std::io::Result<()> {
        let report = serde_json::json!({
            "msg_type": "failed", "type": "LoadError", "text": problem, "at": null,
        });
        write_all(1, format!("{MARK}{report}\n{ERROR_OCCURRED}\n").as_bytes())?;
        self.finish()
    }

    fn read_acknowledgement(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.acknowledgements.read_line(&mut line)?;
        Ok(line)
    }

    /// Asks the kernel whether the cell was interrupted while it was compiled.
    fn may_start(&mut self) -> std::io::Result<bool> {
        write_all(1, format!("{MARK}{{\"msg_type\":\"starting\"}}\n").as_bytes())?;
        Ok(self.read_acknowledgement()?.trim() == "true")
    }

    /// Waits until the kernel has read all output of the cell, then answers evcxr.
    fn finish(&mut self) -> std::io::Result<()> {
        if let Some(preloaded) = &self.preloaded {
            preloaded.call(b"qrnn_preload_flush\0");
        }
        self.done += 1;
        let mark = format!("{MARK}{{\"msg_type\":\"done\",\"cell\":{}}}\n", self.done);
        write_all(1, mark.as_bytes())?;
        write_all(2, mark.as_bytes())?;
        let for_evcxr = self.read_acknowledgement()?;
        let for_evcxr: Vec<String> = serde_json::from_str(&for_evcxr).unwrap_or_default();
        if for_evcxr.iter().any(|line| line == REFUSED) {
            return self.answers.write_all(NOT_UTF8);
        }
        for line in for_evcxr {
            writeln!(self.answers, "{line}")?;
        }
        writeln!(self.answers, "{COMPLETE}")
    }
}

/// Writes to standard output or standard error, not through Rust's buffers.
fn write_all(to: RawFd, mut bytes: &[u8]) -> std::io::Result<()> {
    // SAFETY: it is open unless a cell closed it; then writing fails.
    let to = unsafe { BorrowedFd::borrow_raw(to) };
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
