//! A text with the entry's vocabulary, for which the softmax's clusters are as large as for WikiText-103.

use std::collections::{HashMap, HashSet};
use std::io::{BufWriter, Write};
use std::path::Path;

use fs_err::File;

use crate::error::Result;

/// The first word of each tail of the entry's softmax.
const BORDERS: [usize; 3] = [2800, 20_000, 76_000];

/// Words of the text, so many that a type which occurs once is as rare as in the training text.
pub const WORDS: usize = 8_000_000;

/// Types that words are sampled from; all others occur once. With more sampled types, the last cluster would
/// be too frequent.
pub const SAMPLED: usize = 40_000;

/// Word types of WikiText-103, `<eos>` included.
pub const TYPES: usize = 267_735;

/// Words of a line.
const LINE: usize = 57;

/// Writes train.txt, valid.txt and test.txt into `folder`; returns the share of words in each cluster.
///
/// train.txt has `words` words sampled by law, and evenly among them each of the other types once.
pub fn write(folder: &Path, words: usize, sampled: usize, types: usize) -> Result<[f64; 4]> {
    fs_err::create_dir_all(folder)?;
    let ranks = by_law(words, sampled);
    let known: HashSet<usize> = ranks.iter().copied().collect();
    let missing = (types - 1).saturating_sub(known.len());
    let mut strewn = (0..).filter(|rank| !known.contains(rank)).take(missing);
    let mut text = Vec::with_capacity(words + missing);
    for (i, rank) in ranks.into_iter().enumerate() {
        text.push(rank);
        text.extend(strewn.by_ref().take((i + 1) * missing / words - i * missing / words));
    }
    let held_out = &text[..text.len().min(100 * LINE)];
    for (name, text) in [("train", &*text), ("valid", held_out), ("test", held_out)] {
        let mut file = BufWriter::new(File::create(folder.join(name).with_extension("txt"))?);
        for line in text.chunks(LINE) {
            for word in line {
                write!(file, "w{word} ")?;
            }
            writeln!(file)?;
        }
        file.flush()?;
    }
    Ok(shares(&text))
}

/// The share of words in each cluster. Ids are in order of first appearance, as in the program; `<eos>` ends
/// each line.
fn shares(text: &[usize]) -> [f64; 4] {
    const EOS: usize = usize::MAX;
    let mut ids: HashMap<usize, usize> = HashMap::new();
    let mut words = [0; 4];
    for line in text.chunks(LINE) {
        for &word in line.iter().chain(&[EOS]) {
            let next = ids.len();
            let id = *ids.entry(word).or_insert(next);
            words[BORDERS.iter().filter(|&&border| id >= border).count()] += 1;
        }
    }
    let all: usize = words.iter().sum();
    words.map(|words| words as f64 / all as f64)
}

/// Ranks of words with about WikiText-103's frequencies: p(r) ~ 1 / (r + 2.7) for rank r, with exponent 1.7
/// above rank 6,000.
fn by_law(words: usize, types: usize) -> Vec<usize> {
    const BEND: f64 = 6000.0;
    let mut sum = 0.0;
    let sums: Vec<f64> = (0..types)
        .map(|rank| {
            let place = rank as f64 + 2.7;
            let steeper = if place > BEND { (BEND / place).powf(0.7) } else { 1.0 };
            sum += steeper / place;
            sum
        })
        .collect();
    let mut random = SplitMix(103);
    let mut sample = || {
        let drawn = random.next() * sum;
        sums.partition_point(|&below| below <= drawn).min(types - 1)
    };
    (0..words).map(|_| sample()).collect()
}

/// SplitMix64 (Steele, Lea and Flood 2014): good enough for word frequencies.
struct SplitMix(u64);

impl SplitMix {
    /// Uniform in [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as f64 / 2f64.powi(64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_there_and_the_missing_ones_lie_evenly() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1000, 5, 106).unwrap();
        let train = std::fs::read_to_string(folder.path().join("train.txt")).unwrap();
        let words: Vec<&str> = train.split_whitespace().collect();
        let types: HashSet<_> = words.iter().collect();
        assert_eq!(types.len() + 1, 106, "with <eos>");
        let is_strewn = |word: &str| word[1..].parse::<usize>().unwrap() >= 5;
        let strewn: Vec<_> = (0..words.len()).filter(|&i| is_strewn(words[i])).collect();
        assert_eq!((strewn.len(), words.len()), (100, 1100));
        assert!(strewn.windows(2).all(|pair| pair[1] - pair[0] == 11), "{strewn:?}");
        let valid = std::fs::read_to_string(folder.path().join("valid.txt")).unwrap();
        assert_eq!(valid, train);
    }

    /// WikiText-103's clusters have 68, 23.2, 6.15 and 2.65 % of its words. This shorter text has no last
    /// cluster; its words are in the third.
    #[test]
    fn words_by_law_have_the_shares_of_wikitext_103() {
        let folder = tempfile::tempdir().unwrap();
        let shares = write(folder.path(), 300_000, TYPES, 40_000).unwrap();
        assert_eq!(shares[3], 0.0);
        for (share, percent) in shares.iter().zip([68.0, 23.2, 8.8]) {
            assert!((100.0 * share - percent).abs() < 3.0, "{shares:?}");
        }
    }
}
