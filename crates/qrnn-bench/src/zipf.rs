//! Generates a text of WikiText-103's size with its word frequencies.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use qrnn::model::WIKITEXT103_VOCAB;
use qrnn::{Error, Result};

use crate::random_tokens::TokenSampler;

/// Bytes of WikiText-103's training text.
pub const BYTES: u64 = 540_000_000;

/// A shorter text could not hold every word.
pub const LEAST_BYTES: u64 = 2_500_000;

/// Tokens of a line; WikiText-103 has 57 on average.
const LINE: usize = 56;

/// Writes train.txt with about `bytes` bytes, at least [`LEAST_BYTES`], and short valid.txt and test.txt. In
/// train.txt every word occurs at least once.
pub fn write(folder: &Path, bytes: u64) -> Result<()> {
    let types = WIKITEXT103_VOCAB - 1; // without <eos>
    let words: Vec<String> = (0..types).map(spelling).collect();
    let mut sampler = TokenSampler::new(types)?;
    for (name, bytes, rare_words) in
        [("train", bytes, types), ("valid", 1_000_000, 0), ("test", 1_000_000, 0)]
    {
        let path = folder.join(format!("{name}.txt"));
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        let mut text = BufWriter::with_capacity(1 << 20, file);
        let (mut written, mut next) = (0, 0);
        while written < bytes || next < rare_words {
            let due = (rare_words as u64 * written / bytes) as usize + LINE;
            let rare = next..due.min(rare_words).max(next);
            next = rare.end;
            let sampled = sampler.sample(LINE).into_iter().map(|id| id as usize);
            let line: Vec<&str> = rare.chain(sampled).map(|id| words[id].as_str()).collect();
            let line = line.join(" ");
            writeln!(text, " {line} ").map_err(Error::io(&path, "write"))?;
            written += line.len() as u64 + 3;
        }
        text.flush().map_err(Error::io(&path, "write"))?;
    }
    Ok(())
}

/// A word whose length grows with its id: the id in base 25 and some z, which is not a digit. A token has 5.3
/// bytes on average, one of WikiText-103 5.2.
fn spelling(id: usize) -> String {
    let mut word = String::new();
    let mut rest = id;
    while rest > 0 || word.is_empty() {
        word.push(char::from(b'a' + (rest % 25) as u8));
        rest /= 25;
    }
    word + &"z".repeat(id % (id.max(1).ilog2() as usize / 3 + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shorter text would be longer than asked for.
    #[test]
    fn the_shortest_text_has_every_word_and_the_size_that_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), LEAST_BYTES).unwrap();
        let text = std::fs::read_to_string(folder.path().join("train.txt")).unwrap();
        assert!((1.0..1.05).contains(&(text.len() as f64 / LEAST_BYTES as f64)), "{}", text.len());
        let words: std::collections::HashSet<_> = text.split_whitespace().collect();
        assert_eq!(words.len(), WIKITEXT103_VOCAB - 1);
    }
}
