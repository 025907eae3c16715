//! A cell's error as Jupyter wants it: ename, evalue, traceback.

pub struct CellError {
    pub name: String,
    pub value: String,
    /// With ANSI colors.
    pub traceback: Vec<String>,
}

impl CellError {
    pub fn plain(name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        let traceback = vec![format!("\u{1b}[1;31m{name}\u{1b}[0m: {value}")];
        Self { name: name.into(), value, traceback }
    }

    /// A failure of the kernel, not of the user's code.
    pub fn kernel(value: impl Into<String>) -> Self {
        Self::plain("KernelError", value)
    }

    /// The cell was interrupted before its code started.
    pub fn interrupted() -> Self {
        Self::plain("KeyboardInterrupt", "interrupted before the cell ran; all variables are kept")
    }

    /// The child process ended while it ran the cell. `status` is evcxr's message.
    pub fn process_ended(status: &str) -> Self {
        let status = status.lines().last().unwrap_or(status);
        let status = status.trim_start_matches("Subprocess terminated with status: ");
        let cause = if status.contains("SIGKILL") {
            "something killed it, probably the system because memory ran out"
        } else if status.contains("SIGABRT") {
            "it aborted, as it does when memory runs out or the stack overflows"
        } else if status.contains("SIGSEGV") || status.contains("SIGBUS") {
            "it accessed invalid memory"
        } else if status.contains("exit status") || status.contains("exit code") {
            "the cell exited"
        } else {
            "it ended"
        };
        Self::plain(
            "ProcessEnded",
            format!(
                "the process that runs cells has ended ({status}): {cause}. All variables are lost; \
                 the next cell runs in a new process"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_death_is_named() {
        for (status, word) in [
            ("Subprocess terminated with status: signal: 9 (SIGKILL)", "memory"),
            ("left over\nSubprocess terminated with status: exit status: 3", "exit status: 3"),
            ("Subprocess terminated with status: signal: 11 (SIGSEGV) (core dumped)", "invalid"),
        ] {
            let error = CellError::process_ended(status);
            assert!(error.value.contains(word), "{}", error.value);
            assert!(error.value.contains("variables are lost"));
            assert!(!error.value.contains("left over"));
        }
    }
}
