//! One completion, to see whether completion works.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::rust_analyzer::client::{Engine, Silence};
use crate::rust_analyzer::notebook_text::Notebook;
use crate::rust_analyzer::wire::{Ask, Found};

/// On a busy machine the standard library takes long to read.
const LIMIT: Duration = Duration::from_secs(30);

/// Completes `v.` of a vector, and says how long the first answer took; none where it took too long to
/// wait for.
///
/// # Errors
/// What went wrong instead.
pub fn trial(program: &Path) -> Result<Option<Duration>, String> {
    let start = Instant::now();
    let cell = "let v = vec![1]; v.";
    let (text, offset) = Notebook::default().with(cell);
    let ask = Ask::Complete { text, offset: offset + cell.len() };
    let folder = std::env::temp_dir();
    let mut engine = Engine::start(program, &folder).map_err(|error| error.to_string())?;
    match engine.ask("", ask, start + LIMIT) {
        Ok(Found::Completions(found)) if found.items.iter().any(|item| item.text == "push") => {
            Ok(Some(start.elapsed()))
        }
        Ok(_) => Err("`vec![1].` does not offer `push`".into()),
        Err(Silence::Late) => Ok(None),
        Err(Silence::Ended) => Err("rust-analyzer ended without an answer".into()),
    }
}
