//! The text of an evaluation: the first tokens of WikiText-103's test text.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use qrnn::model::WIKITEXT103_VOCAB;
use qrnn::{Error, Result};

/// Writes a folder with the first `tokens` tokens of the test text and a vocabulary of WikiText-103's size.
///
/// The original ids depend on the training text, which is not needed here: words are numbered in
/// the order of their first appearance in the validation and test texts, and beyond the head spread
/// evenly in the logarithm, so that every cluster has words. Other ids get filler words.
pub fn write(data: &Path, folder: &Path, tokens: usize) -> Result<()> {
    let read = |name: &str| -> Result<String> {
        let preprocessed = data.join(format!("{name}.txt"));
        let path = if preprocessed.is_file() {
            preprocessed
        } else {
            data.join(format!("wiki.{name}.tokens"))
        };
        std::fs::read_to_string(&path).map_err(Error::io(&path, "read"))
    };
    let (valid, test) = (read("valid")?, read("test")?);
    let mut ids: HashMap<&str, usize> = HashMap::from([("<eos>", 0)]);
    let mut types = vec!["<eos>"];
    for word in valid.split_whitespace().chain(test.split_whitespace()) {
        ids.entry(word).or_insert_with(|| {
            types.push(word);
            types.len() - 1
        });
    }
    let head = 2800.0;
    let stretch = (WIKITEXT103_VOCAB as f64 / head).ln() / (types.len() as f64 / head).ln();
    let mut vocabulary = vec![None; WIKITEXT103_VOCAB];
    let mut free = 0;
    for (rank, word) in types.iter().enumerate() {
        let rank = rank as f64;
        let id = if rank < head { rank } else { head * (rank / head).powf(stretch) };
        let id = (id as usize).max(free);
        if let Some(entry) = vocabulary.get_mut(id) {
            *entry = Some(*word);
            free = id + 1;
        }
    }
    let mut train = String::from("\n"); // <eos>
    for (id, word) in vocabulary.iter().enumerate().skip(1) {
        let _ = match word {
            Some(word) => write!(train, "{word} "),
            None => write!(train, "filler{id} "),
        };
    }
    let mut remaining = tokens;
    let mut short = String::new();
    for line in test.lines() {
        let words = line.split_whitespace().count() + 1;
        if words > remaining {
            break;
        }
        remaining -= words;
        short += line;
        short.push('\n');
    }
    for (name, text) in [("train", &train), ("valid", &short), ("test", &short)] {
        let path = folder.join(format!("{name}.txt"));
        std::fs::write(&path, text).map_err(Error::io(&path, "write"))?;
    }
    Ok(())
}
