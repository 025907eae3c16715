//! Runs the built program.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Exit status and output of a run.
pub struct Ran {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// The JSON object of `--json`, the only line of standard output.
    pub fn json(&self) -> Value {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A command that runs the program with these arguments.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qrnn-bench"));
    // Tests run concurrently, and would oversubscribe the processors.
    command.args(args).env("OMP_NUM_THREADS", "1").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn bench(args: &[&str]) -> Ran {
    command(args).output().unwrap().into()
}
