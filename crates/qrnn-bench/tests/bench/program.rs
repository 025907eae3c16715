//! Runs the built program.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a run printed, and its exit status.
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
    /// The last line of standard output, which with --json is the only one.
    pub fn json(&self) -> Value {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// The program with these arguments, ready to be started.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qrnn-bench"));
    // Tests run side by side: threads that wait for each other would starve.
    command.args(args).env("OMP_NUM_THREADS", "1").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn bench(args: &[&str]) -> Ran {
    command(args).output().unwrap().into()
}
