//! What all processes of a group must have in common, compared before their first operation.

use qrnn_ops::matmul::Precision;
use qrnn_ops::process_group::ProcessGroup;
use serde_json::{Value, json};

use crate::compress::Gradual;
use crate::data::{Corpus, Split};
use crate::interrupt::Interrupt;
use crate::model::QrnnLm;
use crate::train::recipe::Recipe;
use crate::{Error, Result};

/// The settings of a run.
pub(in crate::train) struct Settings<'a> {
    pub model: &'a QrnnLm,
    pub recipe: &'a Recipe,
    pub corpus: &'a Corpus,
    pub compression: Option<&'a Gradual>,
    /// Steps between lines of the log.
    pub log_every: u64,
    /// Losses that are read at once, if it is not the default.
    pub losses_at_once: Option<usize>,
}

/// Fields that files name after the flags of awd-lstm-lm.
const FIELDS: [(&str, &str); 6] = [
    ("config.nlayers", "config.layers"),
    ("config.dropout", "config.output_dropout"),
    ("config.dropouth", "config.hidden_dropout"),
    ("config.dropouti", "config.input_dropout"),
    ("config.dropoute", "config.embedding_dropout"),
    ("config.wdrop", "config.weight_drop"),
];

impl Settings<'_> {
    /// Names and values. Those of a nested object are fields of the library: `recipe.lr`.
    fn to_json(&self) -> Value {
        let Self { model, recipe, corpus, compression, log_every, losses_at_once } = self;
        let device = if model.options().1.is_cuda() { "cuda" } else { "cpu" };
        let text = |split| format!("{:016x}", corpus.checksum(split));
        json!({
            "config": model.config(),
            "recipe": recipe,
            "compression": compression,
            "trainer": { "log_every": log_every, "losses_at_once": losses_at_once },
            "model": {
                "device": device,
                "kind": format!("{:?}", model.options().0),
                // By the names of --precision.
                "precision": match model.precision() {
                    Precision::Single => "fp32",
                    Precision::Torch => "fp32 by torch",
                    Precision::Tf32 => "tf32",
                    Precision::Bf16 => "bf16",
                },
            },
            "corpus": { "ids": corpus.ids() },
            "text": {
                "train": text(Split::Train),
                "valid": text(Split::Valid),
                "test": text(Split::Test),
                "vocabulary": corpus.vocab().checksum(),
            },
        })
    }

    /// Compares the settings of all processes.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the first difference; [`Error::Ops`] naming a process that does not answer;
    /// [`Error::Interrupted`].
    pub fn compare(&self, group: &ProcessGroup, interrupt: &Interrupt) -> Result<()> {
        let own = self.to_json();
        let texts = group.exchange(&own.to_string(), &|| interrupt.requested())?;
        let all: Vec<Value> =
            texts.iter().map(|text| serde_json::from_str(text).unwrap_or_default()).collect();
        let first = &all[0];
        for (rank, other) in all.iter().enumerate().skip(1) {
            // Another order of ids changes the texts, and another text the size of the vocabulary.
            let parts =
                ["/corpus/ids", "/text/train", "/text/valid", "/text/test", "/text/vocabulary", ""];
            let differs = |path: &&str| other.pointer(path) != first.pointer(path);
            let Some(path) = parts.into_iter().find(differs) else { continue };
            let value = |all: &Value| all.pointer(path).cloned().unwrap_or_default();
            let name = path.trim_start_matches('/').replace('/', ".");
            if let Some((field, theirs, ours)) = difference(&name, &value(other), &value(first)) {
                return Err(mismatch(rank, &field, &theirs, &ours));
            }
        }
        Ok(())
    }
}

fn mismatch(rank: usize, field: &str, theirs: &str, ours: &str) -> Error {
    let problem = match field.strip_prefix("text.") {
        Some("vocabulary") => "its corpus has another vocabulary than that of rank 0".to_owned(),
        Some(split) => format!("its corpus has another {split} text than that of rank 0"),
        None => {
            let renamed = FIELDS.iter().find(|(in_files, _)| *in_files == field);
            let field = renamed.map_or(field, |(_, in_rust)| in_rust);
            let [theirs, ours] = [theirs, ours].map(|text| text.trim_matches('"'));
            format!("its {field} is {theirs}, but that of rank 0 is {ours}")
        }
    };
    Error::mismatch(
        format!("rank {rank} of the group"),
        problem,
        "start all processes with the same settings and the same corpus",
    )
}

/// The first value in which two objects differ: its path and both values.
fn difference(path: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
    if a == b {
        return None;
    }
    let (Some(fields), Some(others)) = (a.as_object(), b.as_object()) else {
        return Some((path.to_owned(), a.to_string(), b.to_string()));
    };
    let names = fields.keys().chain(others.keys());
    names.into_iter().find_map(|name| {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let value = |fields: &serde_json::Map<String, Value>| {
            fields.get(name).cloned().unwrap_or(Value::Null)
        };
        difference(&path, &value(fields), &value(others))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let one = json!({ "recipe": { "lr": 0.1, "clip": 1 }, "widths": null });
        let other = json!({ "recipe": { "lr": 0.2, "clip": 1 } });
        let expected = ("recipe.lr".to_owned(), "0.1".to_owned(), "0.2".to_owned());
        assert_eq!(difference("", &one, &other), Some(expected));
        assert_eq!(difference("", &one, &one), None);
        let absent = json!({ "recipe": { "lr": 0.1, "clip": 1 } });
        assert_eq!(difference("", &one, &absent), None);
    }
}
