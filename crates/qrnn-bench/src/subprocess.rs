//! Runs this program as another process, whose peak memory is that of one piece of work.

use std::ffi::OsString;
use std::process::Command;

use qrnn::{Error, Result};
use serde_json::Value;

/// The JSON object that this program prints with these arguments and `--json`.
pub fn run(args: &[OsString]) -> Result<Value> {
    let program = std::env::current_exe().map_err(Error::io("this program", "find"))?;
    let output = Command::new(&program).args(args).arg("--json").output();
    let output = output.map_err(Error::io(&program, "run"))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let call = args.join(" ".as_ref()).to_string_lossy().into_owned();
        let problem = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Error::config(call, "", problem, "correct this, then measure again")
    })
}
