//! The rustc wrapper: adds the preloaded crates to a cell, and adapts its code.
//!
//! evcxr has cargo compile each cell as a crate named `ctx`; cargo runs this program in place of
//! rustc (RUSTC_WRAPPER).
//!
//! All cells are compiled with the same `-C metadata`. To rustc they are then one crate, so a type
//! stays the same type in later cells, although cargo's metadata changes with every dependency and
//! option. `notebook` and [`build_inputs`](crate::rustc::build_inputs) check that two definitions of
//! a type agree.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::env_vars;
use crate::rustc::build_inputs::BuildInputs;
use crate::rustc::dep_info::DepInfo;
use crate::rustc::handoff::{DISCARDED, UNTOUCHED, WARNINGS};
use crate::rustc::messages::{self, Line};
use crate::rustc::{generated_code, type_probes};
use crate::terminal;
use crate::toolchain::preload;

/// Makes rustc write types with full paths and at any length, so that a cell can name them.
const FULL_NAMES: [&str; 3] =
    ["-Ztrim-diagnostic-paths=no", "-Zwrite-long-types-to-disk=no", "--diagnostic-width=100000"];

/// The metadata of every cell.
const METADATA: &str = "metadata=qrnn-jupyter-cell";

pub fn run() -> ExitCode {
    // As RUSTC_WRAPPER and RUSTC_WORKSPACE_WRAPPER, this program is its own first argument.
    let program = std::env::current_exe().ok();
    let mut args = std::env::args_os().skip(1);
    let Some(rustc) = args.find(|arg| program.as_deref() != Some(Path::new(arg))) else {
        terminal::eprint("this is a rustc wrapper: it needs rustc and its arguments");
        return ExitCode::FAILURE;
    };
    let args: Vec<OsString> = args.collect();
    let workdir = std::env::var_os("EVCXR_TMPDIR");
    let error = match workdir.as_deref().map(Path::new) {
        Some(workdir) if is_cell(&args, std::env::var_os("CARGO_MANIFEST_DIR"), workdir) => {
            match compile(&rustc, &args, workdir) {
                Ok(status) => return status,
                Err(error) => error,
            }
        }
        _ => Command::new(&rustc).args(&args).exec(),
    };
    terminal::eprint(format_args!("cannot run {}: {error}", rustc.display()));
    ExitCode::FAILURE
}

/// Whether this is evcxr's crate `ctx`; a dependency may have that name too.
fn is_cell(args: &[OsString], crate_folder: Option<OsString>, workdir: &Path) -> bool {
    let named = args.windows(2).any(|pair| pair[0] == "--crate-name" && pair[1] == "ctx");
    named && crate_folder.is_some_and(|folder| folder == workdir)
}

fn compile(rustc: &OsStr, args: &[OsString], workdir: &Path) -> std::io::Result<ExitCode> {
    let builds = args.iter().any(|arg| {
        let arg = arg.to_string_lossy();
        arg.starts_with("--emit=") && arg.contains("link")
    });
    let mut inputs = builds.then(|| BuildInputs::of(args, workdir));
    if let Some(refusal) = inputs.as_ref().and_then(BuildInputs::refusal) {
        terminal::eprint(refusal);
        return Ok(ExitCode::FAILURE);
    }
    let mut command = Command::new(rustc);
    command.args(with_metadata(args));
    prepare(&mut command, args, workdir);
    command.stderr(Stdio::piped());
    // SAFETY: a plain system call between fork and exec. An interrupt kills this program; the
    // compiler has to end with it.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    let mut child = command.spawn()?;
    let mut warnings = vec![];
    if let Some(stderr) = child.stderr.take() {
        let mut err = std::io::stderr().lock();
        for line in BufReader::new(stderr).lines() {
            match messages::filter(&line?) {
                Line::Forwarded(line) => writeln!(err, "{line}")?,
                Line::Warning(warning) => warnings.push(warning.to_string()),
            }
        }
    }
    let status = child.wait()?;
    if let Some(inputs) = &mut inputs {
        // If this fails, the cell shows no warnings.
        let _ = replace(&workdir.join(WARNINGS), &warnings.join("\n"));
        if status.success() {
            inputs.read_again(&DepInfo::of(args)?);
            // A file may have changed while rustc ran.
            if let Some(refusal) = inputs.refusal() {
                terminal::eprint(refusal);
                return Ok(ExitCode::FAILURE);
            }
            inputs.write(workdir)?;
        }
    }
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn with_metadata(args: &[OsString]) -> Vec<OsString> {
    let is_metadata = |arg: &OsString| arg.as_encoded_bytes().starts_with(b"metadata=");
    let mut args = args.to_vec();
    for at in 1..args.len() {
        if args[at - 1] == "-C" && is_metadata(&args[at]) {
            args[at] = METADATA.into();
        }
    }
    args
}

/// Adds arguments for the preloaded crates, and adapts evcxr's code.
fn prepare(command: &mut Command, args: &[OsString], workdir: &Path) {
    if let Some(library) = std::env::var_os(env_vars::PRELOAD).map(PathBuf::from)
        && let Some(folder) = library.parent()
    {
        let mut file = OsString::from("@");
        file.push(folder.join(preload::ARGUMENTS));
        command.arg(file);
    }
    let source = args.iter().find(|arg| arg.as_encoded_bytes().ends_with(b"src/lib.rs"));
    let Some(source) = source.map(Path::new) else { return };
    let Ok(code) = std::fs::read_to_string(source) else { return };
    if code.contains(type_probes::NAME_TYPE) {
        // This call only checks; the variable lets stable rustc accept the flags.
        command.args(FULL_NAMES).env("RUSTC_BOOTSTRAP", "1");
    }
    let read = |file| std::fs::read_to_string(workdir.join(file)).unwrap_or_default();
    let (untouched, discarded) = (read(UNTOUCHED), read(DISCARDED));
    let adapted = if discarded.is_empty() {
        generated_code::adapt(&code, &untouched.lines().collect::<Vec<_>>())
    } else {
        generated_code::adapt_discard(&code, &discarded.lines().collect::<Vec<_>>())
    };
    if adapted != code {
        // If this fails, the cell still compiles, with poorer messages.
        let _ = replace(source, &adapted);
    }
}

/// Replaces a file as a whole, because cargo, evcxr and the kernel read it too.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = path.with_extension("reporting");
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
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
    fn every_cell_has_the_same_metadata() {
        let args = ["-C", "metadata=0123", "-C", "extra-filename=-0123", "metadata=file"];
        let args = args.map(OsString::from);
        assert_eq!(
            with_metadata(&args),
            ["-C", METADATA, "-C", "extra-filename=-0123", "metadata=file"]
        );
    }
}
