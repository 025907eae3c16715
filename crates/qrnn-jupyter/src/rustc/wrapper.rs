//! The step between cargo and rustc: adds the preloaded crates to a cell, and reports to its code.
//!
//! evcxr has cargo compile each cell as a crate named `ctx`; cargo runs this program in rustc's
//! place (RUSTC_WRAPPER).
//!
//! **One identity for all cells.** A type is what it was in an earlier cell where rustc takes both
//! crates for the same one, by name and by `-C metadata`. Cargo's metadata changes with every
//! dependency and every option, so each cell is compiled with the same metadata here. That two
//! definitions under one identity agree is for others to see to: `notebook.rs` for the notebook's own
//! items, `externs.rs` for the crates that they use.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::rustc::build_inputs::Externs;
use crate::rustc::dep_info::ReadFiles;
use crate::rustc::generated_code;
use crate::rustc::messages::{self, Line};
use crate::terminal;
use crate::toolchain::preload;

/// Tells this program that cargo runs it.
pub const ROLE: &str = "QRNN_JUPYTER_COMPILER";

/// The probes for types (`types.rs`) call it.
pub const NAME_TYPE: &str = "::qrnn_preload::name_type";

/// Where the warnings of the last compilation stand, a line of JSON each, in evcxr's folder.
pub const WARNINGS: &str = "warnings";

/// The variables that a cell binds anew without reading them, a line each, in evcxr's folder.
pub const UNTOUCHED: &str = "untouched";

/// The variables that a cell of the kernel's own drops unread, a line each, in evcxr's folder.
pub const DISCARDED: &str = "discarded";

/// Asks rustc to name types by paths that can be written in a cell, at any length.
const FULL_NAMES: [&str; 3] =
    ["-Ztrim-diagnostic-paths=no", "-Zwrite-long-types-to-disk=no", "--diagnostic-width=100000"];

/// The metadata of every cell's crate.
const IDENTITY: &str = "metadata=qrnn-jupyter-cell";

pub fn run() -> ExitCode {
    // Named twice, this program stands before itself.
    let program = std::env::current_exe().ok();
    let mut args = std::env::args_os().skip(1);
    let Some(rustc) = args.find(|arg| program.as_deref() != Some(Path::new(arg))) else {
        terminal::note("cargo runs this with rustc and its arguments");
        return ExitCode::FAILURE;
    };
    let args: Vec<OsString> = args.collect();
    let evcxrs = std::env::var_os("EVCXR_TMPDIR");
    let trouble = match evcxrs.as_deref().map(Path::new) {
        Some(folder) if is_cell(&args, std::env::var_os("CARGO_MANIFEST_DIR"), folder) => {
            match compile(&rustc, &args, folder) {
                Ok(status) => return status,
                Err(trouble) => trouble,
            }
        }
        _ => Command::new(&rustc).args(&args).exec(),
    };
    terminal::note(format_args!("cannot compile by {}: {trouble}", rustc.display()));
    ExitCode::FAILURE
}

/// The crate `ctx` of evcxr's own folder; a dependency of that name is another matter.
fn is_cell(args: &[OsString], crate_folder: Option<OsString>, evcxrs: &Path) -> bool {
    let named = args.windows(2).any(|pair| pair[0] == "--crate-name" && pair[1] == "ctx");
    named && crate_folder.is_some_and(|folder| folder == evcxrs)
}

fn compile(rustc: &OsStr, args: &[OsString], folder: &Path) -> std::io::Result<ExitCode> {
    let builds = args.iter().any(|arg| {
        let arg = arg.to_string_lossy();
        arg.starts_with("--emit=") && arg.contains("link")
    });
    let mut externs = builds.then(|| Externs::of(args, folder));
    if let Some(refusal) = externs.as_ref().and_then(Externs::refusal) {
        terminal::note(refusal);
        return Ok(ExitCode::FAILURE);
    }
    let mut command = Command::new(rustc);
    command.args(with_identity(args));
    prepare(&mut command, args, folder);
    command.stderr(Stdio::piped());
    // SAFETY: between fork and exec it makes a plain system call only. Who stops this program, as an
    // interrupt does, means the compiler.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    let mut child = command.spawn()?;
    let mut warnings = vec![];
    if let Some(stderr) = child.stderr.take() {
        let mut err = std::io::stderr().lock();
        for line in BufReader::new(stderr).lines() {
            match messages::sorted(&line?) {
                Line::Passed(line) => writeln!(err, "{line}")?,
                Line::Warning(warning) => warnings.push(warning.to_string()),
            }
        }
    }
    let status = child.wait()?;
    if let Some(externs) = &mut externs {
        // Without this file a cell goes without its warnings.
        let _ = replace(&folder.join(WARNINGS), &warnings.join("\n"));
        if status.success() {
            externs.look_at(&ReadFiles::of(args)?);
            // A file may have changed while rustc was at work.
            if let Some(refusal) = externs.refusal() {
                terminal::note(refusal);
                return Ok(ExitCode::FAILURE);
            }
            externs.remember(folder)?;
        }
    }
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn with_identity(args: &[OsString]) -> Vec<OsString> {
    let is_metadata = |arg: &OsString| arg.as_encoded_bytes().starts_with(b"metadata=");
    let mut args = args.to_vec();
    for at in 1..args.len() {
        if args[at - 1] == "-C" && is_metadata(&args[at]) {
            args[at] = IDENTITY.into();
        }
    }
    args
}

fn prepare(command: &mut Command, args: &[OsString], evcxrs: &Path) {
    if let Some(folder) = std::env::var_os(crate::child::runtime::PRELOAD).map(PathBuf::from)
        && let Some(folder) = folder.parent()
    {
        let mut file = OsString::from("@");
        file.push(folder.join(preload::ARGUMENTS));
        command.arg(file);
    }
    let Some(source) = args.iter().find(|arg| arg.as_encoded_bytes().ends_with(b"src/lib.rs"))
    else {
        return;
    };
    let Ok(code) = std::fs::read_to_string(source) else { return };
    if code.contains(NAME_TYPE) {
        // Stable rustc takes these flags for this one call, which checks and builds nothing.
        command.args(FULL_NAMES).env("RUSTC_BOOTSTRAP", "1");
    }
    let listed = |file| std::fs::read_to_string(evcxrs.join(file)).unwrap_or_default();
    let (untouched, discarded) = (listed(UNTOUCHED), listed(DISCARDED));
    let untouched: Vec<&str> = untouched.lines().collect();
    let discarded: Vec<&str> = discarded.lines().collect();
    let adapted = if discarded.is_empty() {
        generated_code::adapted(&code, &untouched)
    } else {
        generated_code::discarding(&code, &discarded)
    };
    if adapted != code {
        // Where this fails, the cell still compiles, and says less.
        let _ = replace(Path::new(source), &adapted);
    }
}

/// The file is replaced, never cut short: cargo, evcxr and the kernel read it too.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension("reporting");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_evcxrs_crate_is_a_cell() {
        let args = |name: &str| ["--crate-name", name, "src/lib.rs"].map(OsString::from);
        let folder = Path::new("/session");
        assert!(is_cell(&args("ctx"), Some("/session".into()), folder));
        assert!(!is_cell(&args("ctx"), Some("/registry/ctx".into()), folder));
        assert!(!is_cell(&args("serde"), Some("/session".into()), folder));
        assert!(!is_cell(&[], None, folder));
    }

    #[test]
    fn every_cell_has_the_same_identity() {
        let args = ["-C", "metadata=0123", "-C", "extra-filename=-0123", "metadata=file"];
        let args = args.map(OsString::from);
        assert_eq!(
            with_identity(&args),
            ["-C", IDENTITY, "-C", "extra-filename=-0123", "metadata=file"]
        );
    }
}
