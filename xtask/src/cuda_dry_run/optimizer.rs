//! The bytes that an optimizer step moves, counted by a test of qrnn-ops.

/// The test that counts the loads and stores of the optimizer's kernels on the CPU.
pub const TEST: [&str; 8] = [
    "test",
    "--release",
    "--package",
    "qrnn-ops",
    "--lib",
    "optimizer_bytes_of_the_entry",
    "--",
    "--nocapture",
];

/// Reads N from the test's output, `optimizer: N bytes a step of the entry (...)`.
pub fn bytes(said: &str) -> Option<f64> {
    said.lines().find_map(|line| {
        // The name of the test may precede it on the line.
        let (_, counted) = line.split_once("optimizer: ")?;
        let (number, _) = counted.split_once(" bytes a step of the entry")?;
        number.replace([',', '_'], "").parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_found_among_what_cargo_prints() {
        let said = "running 1 test\ntest libtorch::tests::optimizer_bytes_of_the_entry ... optimizer: \
                    2,960,000,123 bytes a step of the entry (without the norm's 420000000)\nok\n";
        assert_eq!(bytes(said), Some(2_960_000_123.0));
        assert_eq!(bytes("running 0 tests\n"), None);
        assert_eq!(bytes("optimizer: many bytes a step of the entry"), None);
    }
}
