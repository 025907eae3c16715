//! Runs the built program.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a run printed, and how it ended.
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
    pub fn succeeds(&self) {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
    }

    /// The last line of standard output, which with --json is the only one.
    pub fn json(&self) -> Value {
        self.succeeds();
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Status 2, and a message that is no panic.
    pub fn is_refused(&self, case: &str) {
        assert_eq!(self.status, Some(2), "{case}: {}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains("error:"), "{case}: {}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{case}: {}", self.stderr);
        let explains = ["what to do:", "For more information", "tip:"];
        assert!(explains.iter().any(|text| self.stderr.contains(text)), "{case}: {}", self.stderr);
    }
}

/// The program, to be run with these arguments.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reproduce"));
    // Tests run side by side: threads that wait for each other would starve.
    command.args(args).env("OMP_NUM_THREADS", "1").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn reproduce(args: &[&str]) -> Ran {
    command(args).output().unwrap().into()
}
