//! The step between cargo and rustc: adds the preloaded crates to a cell, and reports to its code.
//!
//! evcxr has cargo compile each cell as a crate named `ctx`; cargo runs this program in rustc's
//! place (RUSTC_WRAPPER). What evcxr generates is known to the letter, as its version is pinned.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::preload;
use crate::terminal;

/// Tells this program that cargo runs it.
pub const ROLE: &str = "QRNN_JUPYTER_COMPILER";

/// The probes for types (`types.rs`) call it.
pub const NAME_TYPE: &str = "::qrnn_preload::name_type";

/// Asks rustc to name types by paths that can be written in a cell, at any length.
const FULL_NAMES: [&str; 3] =
    ["-Ztrim-diagnostic-paths=no", "-Zwrite-long-types-to-disk=no", "--diagnostic-width=100000"];

pub fn run() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(rustc) = args.next() else {
        terminal::note("cargo runs this with rustc and its arguments");
        return ExitCode::FAILURE;
    };
    let args: Vec<OsString> = args.collect();
    let mut command = Command::new(&rustc);
    command.args(&args);
    if is_cell(&args, std::env::var_os("CARGO_MANIFEST_DIR"), std::env::var_os("EVCXR_TMPDIR")) {
        prepare(&mut command, &args);
    }
    terminal::note(format_args!("cannot run {}: {}", rustc.display(), command.exec()));
    ExitCode::FAILURE
}

/// The crate `ctx` of evcxr's own folder; a dependency of that name is another matter.
fn is_cell(args: &[OsString], crate_folder: Option<OsString>, evcxrs: Option<OsString>) -> bool {
    let named = args.windows(2).any(|pair| pair[0] == "--crate-name" && pair[1] == "ctx");
    named && crate_folder.is_some() && crate_folder == evcxrs
}

fn prepare(command: &mut Command, args: &[OsString]) {
    if let Some(folder) = std::env::var_os(crate::evaluation::PRELOAD).map(PathBuf::from)
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
    let reporting = reporting(&code);
    if reporting != code {
        // Where this fails, the cell still compiles, and says less.
        let _ = replace(source, &reporting);
    }
}

/// The file is replaced, never cut short: cargo and evcxr read it too.
fn replace(path: &OsStr, text: &str) -> std::io::Result<()> {
    let beside = Path::new(path).with_extension("reporting");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

/// Evcxr's code for a cell, with the same lines, that says where `?` failed and where the value at
/// the cell's end begins to show itself.
fn reporting(code: &str) -> String {
    const ERROR: &str = "struct EvcxrUserCodeError {}";
    const SIGNATURE: &str = "fn from(error: T) -> Self {";
    const PRINTED: &str = "eprintln!(\"{}\", error);";
    let mut code = code.to_owned();
    if let Some(start) = code.find(ERROR) {
        let error = code.split_off(start);
        code += &error.replacen(SIGNATURE, &format!("#[track_caller] {SIGNATURE}"), 1).replacen(
            PRINTED,
            "::qrnn_preload::failed(&error);",
            1,
        );
    }
    share_store(&mut code);
    let lines = code.split('\n').map(|line| match line {
        ").evcxr_display();" => ").qrnn_ending().evcxr_display();",
        line => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The store of variables, which evcxr puts into each cell's code, taken from the preloaded library
/// instead: most of a cell's compilation would be that.
fn share_store(code: &mut String) {
    const OPENING: &str = "\nmod evcxr_internal_runtime {\n";
    const CLOSING: &str = "\n}\n#[unsafe(no_mangle)]\n";
    let Some(start) = code.find(OPENING).map(|at| at + 1) else { return };
    let Some(end) = code[start..].find(CLOSING).map(|at| start + at + 2) else { return };
    let blank = "\n".repeat(code[start..end].matches('\n').count());
    let shared = format!("use ::qrnn_preload::store as evcxr_internal_runtime;{blank}");
    code.replace_range(start..end, &shared);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_shared_line_for_line() {
        let code = "a\nmod evcxr_internal_runtime {\nfn x() {\n}\n\n}\n#[unsafe(no_mangle)]\nb\n";
        let mut shared = code.to_owned();
        share_store(&mut shared);
        assert_eq!(shared.lines().count(), code.lines().count());
        assert!(shared.ends_with("\n#[unsafe(no_mangle)]\nb\n"), "{shared}");
        assert!(!shared.contains("fn x"));
    }

    #[test]
    fn only_evcxrs_crate_is_a_cell() {
        let args = |name: &str| ["--crate-name", name, "src/lib.rs"].map(OsString::from);
        let folder = || Some(OsString::from("/session"));
        assert!(is_cell(&args("ctx"), folder(), folder()));
        assert!(!is_cell(&args("ctx"), Some("/registry/ctx".into()), folder()));
        assert!(!is_cell(&args("serde"), folder(), folder()));
        assert!(!is_cell(&[], None, None));
    }

    #[test]
    fn reports_keep_every_line_where_it_was() {
        let code = "fn user() { eprintln!(\"{}\", error); }\n\
            struct EvcxrUserCodeError {}\n\
            impl<T: std::fmt::Display> From<T> for EvcxrUserCodeError {\n\
            fn from(error: T) -> Self {\n\
            eprintln!(\"{}\", error);\n\
            println!(\"{}\", evcxr_internal_runtime::USER_ERROR_OCCURRED);\n\
            EvcxrUserCodeError {}\n}\n}\n(\nvalue\n).evcxr_display();\n";
        let reporting = reporting(code);
        assert_eq!(reporting.lines().count(), code.lines().count());
        assert!(reporting.starts_with("fn user() { eprintln!(\"{}\", error); }\n"));
        assert!(reporting.contains(
            "\n#[track_caller] fn from(error: T) -> Self {\n::qrnn_preload::failed(&error);\n"
        ));
        assert!(reporting.ends_with("(\nvalue\n).qrnn_ending().evcxr_display();\n"));
    }
}
