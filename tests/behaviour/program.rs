//! Runs the built program.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Output and exit status of a run of the program.
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
    /// Asserts exit status 0.
    pub fn succeeds(&self) {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
    }

    /// The JSON object, which must be the only line of standard output.
    pub fn json(&self) -> Value {
        self.succeeds();
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Asserts exit status 2 and an error message with a remedy.
    pub fn is_refused(&self, case: &str) {
        assert_eq!(self.status, Some(2), "{case}: {}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains("error:"), "{case}: {}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{case}: {}", self.stderr);
        let remedies = ["what to do:", "For more information", "tip:"];
        assert!(remedies.iter().any(|text| self.stderr.contains(text)), "{case}: {}", self.stderr);
    }
}

/// A command that runs the program with these arguments.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reproduce"));
    // Tests run in parallel, so that more threads only slow each other down.
    command.args(args).env("OMP_NUM_THREADS", "1").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn reproduce(args: &[&str]) -> Ran {
    command(args).output().unwrap().into()
}
