//! Measures the peak memory of this program in another process.

use std::process::Command;

use qrnn::{Error, Result};
use serde_json::Value;

/// The peak memory that this program reports with these arguments, in bytes.
///
/// # Errors
/// [`Error::Config`] if the program fails.
pub fn peak_bytes(args: &[String]) -> Result<f64> {
    let program = std::env::current_exe().map_err(Error::io("this program", "find"))?;
    let output = Command::new(&program).args(args).output().map_err(Error::io(&program, "run"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let value: Option<Value> =
        stdout.lines().last().and_then(|line| serde_json::from_str(line).ok());
    value.and_then(|value| value["peak_bytes"].as_f64()).ok_or_else(|| {
        let problem = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Error::config(args.join(" "), "", problem, "fix this, then measure again")
    })
}
