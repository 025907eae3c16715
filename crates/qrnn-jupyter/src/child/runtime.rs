//! The evaluation process: loads what each cell was compiled to, and calls it.
//!
//! evcxr starts it and speaks to it over its standard input and output. Those are moved aside
//! before it starts (`launch.rs`), and standard streams of the kernel's take their place, so that
//! whatever a cell prints or reads goes straight to and from the kernel.

use std::ffi::c_void;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::child::demultiplexer::MARK;
use crate::child::library_path::LibraryPath;
use crate::terminal;

/// evcxr's commands come in here,
pub const COMMANDS: RawFd = 100;
/// what it wants to hear goes out here,
pub const ANSWERS: RawFd = 101;
/// and here the kernel says that it has read all that the cell printed.
pub const ACKNOWLEDGEMENTS: RawFd = 102;

/// Where the preloaded library lies.
pub const PRELOAD: &str = "QRNN_JUPYTER_PRELOAD";

/// Among what evcxr is to hear: the cell did not run, as a variable has another type by now.
pub const REFUSED: &str = "QRNN_JUPYTER_REFUSED";
/// evcxr takes a line that is no text for a failure, and forgets what the cell was to define: a
/// dependency, an item. Any answer of its protocol would make it keep that.
const NO_TEXT: &[u8] = b"\xff\n";

/// Of the kernel's own, not for cells and the programs that they start.
const PRIVATE: [&str; 5] = [
    "EVCXR_IS_RUNTIME",
    "EVCXR_TMPDIR",
    "EVCXR_CONFIG_DIR",
    "RUST_SRC_PATH",
    crate::rustc::wrapper::ROLE,
];

type Cell = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

pub fn run() -> ExitCode {
    let library_path = LibraryPath::settle();
    // SAFETY: the launch put these descriptors there for this process alone.
    let [commands, answers, acknowledgements] = [COMMANDS, ANSWERS, ACKNOWLEDGEMENTS]
        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) });
    for descriptor in [&commands, &answers, &acknowledgements] {
        // Programs that a cell starts must not hold the evaluator's streams open.
        let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
    }
    if let Some(session) = std::env::var_os("EVCXR_TMPDIR") {
        crate::toolchain::environment::restore(Path::new(&session));
    }
    for name in PRIVATE {
        // SAFETY: no other thread has started yet.
        unsafe { std::env::remove_var(name) };
    }
    // Where memory runs out, this process goes first, and the kernel lives on to say so.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let preloaded = std::env::var_os(PRELOAD).map(PathBuf::from).and_then(|path| {
        preload(&path)
            .inspect_err(|error| {
                // Another torch on LD_LIBRARY_PATH may be why.
                for descriptor in [&commands, &answers, &acknowledgements] {
                    let _ = fcntl_setfd(descriptor, FdFlags::empty());
                }
                library_path.without_the_users(&path);
                let (path, reason) = (path.display(), reason(error));
                terminal::note(format_args!(
                    "cannot load {path}: {reason}; `qrnn-jupyter doctor` says more"
                ));
            })
            .ok()
    });
    let mut evaluation = Evaluation {
        answers: File::from(answers),
        acknowledgements: BufReader::new(File::from(acknowledgements)),
        preloaded,
        cells: vec![],
        variables: std::ptr::null_mut(),
        done: 0,
    };
    for line in BufReader::new(File::from(commands)).lines() {
        let result =
            line.map_err(|error| error.to_string()).and_then(|line| evaluation.obey(&line));
        if let Err(problem) = result {
            terminal::note(format_args!("the evaluation process cannot go on: {problem}"));
            return ExitCode::FAILURE;
        }
    }
    // Without destructors, as evcxr has it: a cell's may be gone already.
    std::process::exit(0)
}

/// What the dynamic linker says.
pub fn reason(error: &libloading::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

/// The library that all cells share; never unloaded.
struct Preloaded {
    library: Library,
}

fn preload(path: &Path) -> Result<Preloaded, libloading::Error> {
    // SAFETY: our own library; its initialisers are libtorch's.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }?;
    let preloaded = Preloaded { library };
    preloaded.call(b"qrnn_preload_start\0");
    Ok(preloaded)
}

impl Preloaded {
    fn call(&self, name: &[u8]) {
        // SAFETY: the functions of this library that are called by name have this type.
        if let Ok(function) = unsafe { self.library.get::<unsafe extern "C" fn()>(name) } {
            // SAFETY: as above.
            unsafe { function() };
        }
    }
}

struct Evaluation {
    answers: File,
    acknowledgements: BufReader<File>,
    preloaded: Option<Preloaded>,
    /// Never unloaded: variables and threads may need their code.
    cells: Vec<Library>,
    variables: *mut c_void,
    done: u64,
}

impl Evaluation {
    fn obey(&mut self, command: &str) -> Result<(), String> {
        let rest = command.strip_prefix("LOAD_AND_RUN ").ok_or("unknown command")?;
        // A path may hold spaces; a function's name has none.
        let (path, function) = rest.rsplit_once(' ').ok_or("incomplete command")?;
        // SAFETY: evcxr has compiled it for us.
        let cell = match unsafe { Library::open(Some(path), RTLD_NOW) } {
            Ok(cell) => cell,
            Err(error) => return self.refuse(&reason(&error)).map_err(|e| e.to_string()),
        };
        if self.may_run().map_err(|error| error.to_string())? {
            // SAFETY: evcxr writes this function with this type.
            self.variables = unsafe {
                let run = cell.get::<Cell>(function.as_bytes()).map_err(|e| e.to_string())?;
                run(self.variables)
            };
            self.cells.push(cell);
            self.finish()
        } else {
            // As if `?` had ended it at once: no variable is new, and none is touched.
            writeln!(self.answers, "EVCXR_ERROR_OCCURRED\nEVCXR_EXECUTION_COMPLETE")
        }
        .map_err(|error| error.to_string())
    }

    /// A cell that cannot be loaded ends as by `?`: no variable is new, and none is touched.
    fn refuse(&mut self, problem: &str) -> std::io::Result<()> {
        let report = serde_json::json!({
            "msg_type": "failed", "type": "LoadError", "text": problem, "at": null,
        });
        // SAFETY: as in `may_run`.
        let out = unsafe { BorrowedFd::borrow_raw(1) };
        write_all(out, format!("{MARK}{report}\nEVCXR_ERROR_OCCURRED\n").as_bytes())?;
        self.finish()
    }

    /// Whether the cell was not interrupted while it was compiled.
    fn may_run(&mut self) -> std::io::Result<bool> {
        // SAFETY: standard output is open before the first cell, and a cell that closes it is
        // answered by an error.
        let out = unsafe { BorrowedFd::borrow_raw(1) };
        write_all(out, format!("{MARK}{{\"msg_type\":\"starting\"}}\n").as_bytes())?;
        let mut line = String::new();
        self.acknowledgements.read_line(&mut line)?;
        Ok(line.trim() == "true")
    }

    /// Waits until the kernel has read all that the cell printed, then tells evcxr.
    fn finish(&mut self) -> std::io::Result<()> {
        if let Some(preloaded) = &self.preloaded {
            preloaded.call(b"qrnn_preload_flush\0");
        }
        self.done += 1;
        let mark = format!("{MARK}{{\"msg_type\":\"done\",\"cell\":{}}}\n", self.done);
        // SAFETY: they are open unless the cell closed them, which is an error that writing shows.
        let (out, err) = unsafe { (BorrowedFd::borrow_raw(1), BorrowedFd::borrow_raw(2)) };
        for stream in [out, err] {
            write_all(stream, mark.as_bytes())?;
        }
        let mut line = String::new();
        self.acknowledgements.read_line(&mut line)?;
        let passed_on: Vec<String> = serde_json::from_str(&line).unwrap_or_default();
        if passed_on.iter().any(|line| line == REFUSED) {
            return self.answers.write_all(NO_TEXT);
        }
        for line in passed_on {
            writeln!(self.answers, "{line}")?;
        }
        writeln!(self.answers, "EVCXR_EXECUTION_COMPLETE")
    }
}

fn write_all(to: impl AsFd, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
