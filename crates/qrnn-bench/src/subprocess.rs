//! A measurement in a process of its own, which knows its peak memory.

use std::process::Command;

use qrnn::{Error, Result};
use serde_json::Value;

/// The peak memory that this program tells when it is called so, in bytes.
///
/// # Errors
/// [`Error::Usage`] where the call fails.
pub fn peak_bytes(call: &[String]) -> Result<f64> {
    let program = std::env::current_exe().map_err(Error::io("this program", "find"))?;
    let output = Command::new(&program).args(call).output().map_err(Error::io(&program, "run"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let value: Option<Value> = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    value.and_then(|value| value["peak_bytes"].as_f64()).ok_or_else(|| {
        let problem = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Error::usage(call.join(" "), problem, "mend what it says, then measure again")
    })
}
