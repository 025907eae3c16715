//! What the commands print that write the results of a table.

use std::path::Path;

use qrnn::command_line::{INTERRUPTED, Output};
use qrnn::paper::results::ReproduceResults;
use serde_json::json;

/// What a command prints that has written results to a folder.
pub fn output(results: &ReproduceResults, out: &Path) -> Output {
    let json = serde_json::to_value(results).unwrap_or_else(|error| json!(error.to_string()));
    let mut text = format!("\n{}\n", results.to_text());
    let written = results.files(out);
    for path in &written {
        text += &format!("\nwrote {}", path.display());
    }
    for plot in [results.parameters_plot(), results.lengths_plot()] {
        let svg = out.join(format!("{}.svg", plot.name()));
        if !written.contains(&svg) && svg.exists() {
            text += &format!("\n{} is from an earlier run", svg.display());
        }
    }
    if let Some(note) = results.parameters_plot().missing_in_png() {
        text += &format!("\n{note}");
    }
    text += &format!(
        "\n{:.0} s of training in all runs; open {}",
        results.seconds,
        out.join("report.html").display()
    );
    let status = if results.interrupted { INTERRUPTED } else { 0 };
    Output { text, json, status }
}

/// The command line of this process.
pub fn command_line() -> String {
    let args = std::env::args_os().skip(1);
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut command = "cargo run --release --bin reproduce".to_owned();
    if !args.is_empty() {
        command += &format!(" -- {}", args.join(" "));
    }
    command
}
