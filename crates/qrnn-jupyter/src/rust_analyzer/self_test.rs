//! A completion that tests whether completion works, for `doctor`.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::rust_analyzer::client::{Client, NoAnswer};
use crate::rust_analyzer::notebook_text::NotebookText;
use crate::rust_analyzer::wire::{Ask, Found};

/// On a busy machine, loading the standard library takes long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Completes `v.` of a vector. Returns how long the first answer took, or `None` after the timeout.
pub fn run(program: &Path) -> Result<Option<Duration>, String> {
    let start = Instant::now();
    let cell = "let v = vec![1]; v.";
    let (text, offset) = NotebookText::default().with_cell(cell);
    let ask = Ask::Complete { text, offset: offset + cell.len() };
    let mut client =
        Client::start(program, &std::env::temp_dir()).map_err(|error| error.to_string())?;
    match client.ask("", ask, start + TIMEOUT) {
        Ok(Found::Completions(found)) if found.items.iter().any(|item| item.text == "push") => {
            Ok(Some(start.elapsed()))
        }
        Ok(_) => Err("`vec![1].` does not offer `push`".into()),
        Err(NoAnswer::Timeout) => Ok(None),
        Err(NoAnswer::Ended) => Err("rust-analyzer ended without an answer".into()),
    }
}
