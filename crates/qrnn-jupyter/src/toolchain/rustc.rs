//! Questions to rustc.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::error::{Error, Result};

/// Everything that `rustc -vV` prints.
pub fn version() -> Result<String> {
    ask(&["-vV"])
}

/// The standard output of rustc.
pub fn ask(arguments: &[&str]) -> Result<String> {
    // In another process group, because SIGINT goes to the kernel's group.
    let output = Command::new("rustc").args(arguments).process_group(0).output();
    let missing = |what: String| Error::Missing {
        what,
        remedy: "install Rust (https://rustup.rs), and start Jupyter with rustc on its PATH".into(),
    };
    let output = output.map_err(|error| missing(format!("cannot run rustc: {error}")))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(missing(format!("rustc does not work: {}", stderr.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
