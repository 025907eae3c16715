//! Generates a text of WikiText-103's size with Zipf-distributed words.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use qrnn::{Error, Result};
use rand::distr::Distribution as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::weighted::WeightedAliasIndex;

/// Word types of WikiText-103, `<eos>` included.
pub const TYPES: usize = 267_735;

/// Bytes of its training text.
pub const BYTES: u64 = 540_000_000;

/// Writes train.txt with about `bytes` bytes and short valid.txt and test.txt.
///
/// Words are sampled independently; the probability of rank r is proportional to 1 / (r + 2.7). In
/// train.txt every word occurs at least once. Frequent words are short: a token has 5.3 bytes on
/// average, one of WikiText-103 5.2.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be written.
pub fn write(folder: &Path, bytes: u64) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(103);
    let words: Vec<Vec<u8>> = (0..TYPES - 1).map(|rank| spelling(rank, &mut random)).collect();
    let weights = (0..words.len()).map(|rank| 1.0 / (rank as f64 + 2.7)).collect();
    let ranks = WeightedAliasIndex::new(weights)
        .map_err(|error| Error::config("Zipf's law", "", error.to_string(), "report this"))?;
    for (name, bytes, rare_words) in
        [("train", bytes, words.len()), ("valid", 1_000_000, 0), ("test", 1_000_000, 0)]
    {
        let path = folder.join(format!("{name}.txt"));
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        let mut text = Counted { inner: BufWriter::with_capacity(1 << 20, file), bytes: 0 };
        let mut next = 0;
        let mut write = |text: &mut Counted<_>, random: &mut ChaCha8Rng| {
            while text.bytes < bytes || next < rare_words {
                // About 57 tokens per line, as in WikiText-103.
                for _ in 0..random.random_range(1..112) {
                    text.write_all(b" ")?;
                    let due = (rare_words as u64 * text.bytes / bytes) as usize;
                    if next < rare_words.min(due + 1) {
                        text.write_all(&words[next])?;
                        next += 1;
                    } else {
                        text.write_all(&words[ranks.sample(random)])?;
                    }
                }
                text.write_all(b" \n")?;
            }
            text.flush()
        };
        write(&mut text, &mut random).map_err(Error::io(&path, "write"))?;
    }
    Ok(())
}

/// A word whose length grows with its rank: the rank in base 25, then random letters.
fn spelling(rank: usize, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut word = vec![];
    let mut rest = rank;
    while rest > 0 || word.is_empty() {
        word.push(b'a' + (rest % 25) as u8);
        rest /= 25;
    }
    // 'z' is not a digit of the rank, so words of different ranks differ.
    let more = random.random_range(0..(rank.max(1).ilog2() / 3 + 2) as usize);
    if more > 0 {
        word.push(b'z');
        word.extend((1..more).map(|_| random.random_range(b'a'..=b'z')));
    }
    word
}

/// Counts the bytes written.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
