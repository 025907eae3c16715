//! A text with the entry's vocabulary, for which the softmax's clusters are as large as for WikiText-103.

use std::collections::{HashMap, HashSet};
use std::io::{BufWriter, Write};
use std::path::Path;

use fs_err::File;

use crate::error::{Error, Result};

/// Word types of WikiText-103, `<eos>` included.
pub const TYPES: usize = 267_735;

/// The first word of each tail of the entry's softmax.
const BORDERS: [usize; 3] = [2800, 20_000, 76_000];

/// Copies of a given text. With 33 copies, WikiText-103's validation text has 7 million words, among which
/// the types that are strewn in are as rare as in the training text.
pub const COPIES: usize = 33;

/// Words of a generated text: as many as in those copies.
pub const WORDS: usize = 7_000_000;

/// Types that a generated text samples from; all others are strewn in. With more sampled types, the last
/// cluster would be too frequent.
pub const TYPES_BY_LAW: usize = 60_000;

/// Lines of the text in the validation and test splits.
const HELD_OUT: usize = 100;

/// Writes train.txt, valid.txt and test.txt into `folder`; returns the share of words in each cluster.
///
/// train.txt is `copies` copies of `base`, with each type that it lacks inserted once, evenly.
pub fn write(folder: &Path, base: &str, copies: usize, types: usize) -> Result<[f64; 4]> {
    fs_err::create_dir_all(folder)?;
    let held_out: Vec<&str> = base.lines().take(HELD_OUT).collect();
    for name in ["valid.txt", "test.txt"] {
        let path = folder.join(name);
        fs_err::write(&path, held_out.join("\n") + "\n")?;
    }
    let known: HashSet<&str> = base.split_whitespace().collect();
    let missing = (types - 1).checked_sub(known.len()).ok_or_else(|| {
        Error::machine(
            format!("the text has {} word types, more than the entry's", known.len()),
            "name another with --text, for instance WikiText-103's validation text",
        )
    })?;
    let mut strewn = (0..).map(|i| format!("strewn{i}")).filter(|word| !known.contains(&**word));

    let path = folder.join("train.txt");
    let file = File::create(&path)?;
    let mut train = BufWriter::new(file);
    let mut clusters = Clusters::default();
    let words = copies * (base.split_whitespace().count() + base.lines().count());
    let (mut written, mut added) = (0, 0);
    let mut write_all = || -> std::io::Result<()> {
        for line in (0..copies).flat_map(|_| base.lines()) {
            for word in line.split_whitespace() {
                written += 1;
                clusters.count(word);
                train.write_all(word.as_bytes())?;
                train.write_all(b" ")?;
                while added * words < written * missing {
                    added += 1;
                    clusters.count_new();
                    let word = strewn.next().unwrap_or_default();
                    train.write_all(word.as_bytes())?;
                    train.write_all(b" ")?;
                }
            }
            written += 1;
            clusters.count("\n");
            train.write_all(b"\n")?;
        }
        // Those that are due after the last line.
        for word in strewn.by_ref().take(missing - added) {
            clusters.count_new();
            writeln!(train, "{word}")?;
            clusters.count("\n");
        }
        train.flush()
    };
    write_all().map_err(Error::io(&path, "write"))?;
    Ok(clusters.shares())
}

/// Counts words by cluster. Ids are in order of first appearance, as in the program.
#[derive(Default)]
struct Clusters<'a> {
    clusters: HashMap<&'a str, usize>,
    ids: usize,
    words: [usize; 4],
}

impl<'a> Clusters<'a> {
    fn count(&mut self, word: &'a str) {
        match self.clusters.get(word) {
            Some(&cluster) => self.words[cluster] += 1,
            None => {
                let cluster = self.count_new();
                self.clusters.insert(word, cluster);
            }
        }
    }

    fn count_new(&mut self) -> usize {
        let cluster = BORDERS.iter().filter(|&&border| self.ids >= border).count();
        self.ids += 1;
        self.words[cluster] += 1;
        cluster
    }

    fn shares(&self) -> [f64; 4] {
        let all: usize = self.words.iter().sum();
        self.words.map(|words| words as f64 / all.max(1) as f64)
    }
}

/// Generates a text with about WikiText-103's word frequencies: p(r) ~ 1 / (r + 2.7) for rank r, with
/// exponent 1.7 above rank 6,000.
pub fn by_law(words: usize, types: usize) -> String {
    const BEND: f64 = 6000.0;
    const LINE: usize = 57;
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
    let mut text = String::with_capacity(7 * words);
    for i in 0..words {
        let drawn = random.next() * sum;
        let rank = sums.partition_point(|&below| below <= drawn);
        text += &format!("w{}", rank.min(types - 1));
        text.push(if i % LINE == LINE - 1 { '\n' } else { ' ' });
    }
    text.push('\n');
    text
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
        let base = "a b c strewn1\n\nb a\n".repeat(50);
        write(folder.path(), &base, 3, 105).unwrap();
        let train = std::fs::read_to_string(folder.path().join("train.txt")).unwrap();
        let words: Vec<&str> = train.split_whitespace().collect();
        let types: HashSet<_> = words.iter().collect();
        assert_eq!(types.len() + 1, 105, "with <eos>");
        let strewn: Vec<_> = (0..words.len())
            .filter(|&i| words[i].starts_with("strewn") && words[i] != "strewn1")
            .collect();
        assert_eq!(strewn.len(), 100);
        let apart = strewn.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(apart.clone().min() >= Some(5) && apart.max() <= Some(15), "{strewn:?}");
        let without: Vec<_> = words
            .iter()
            .filter(|word| **word == "strewn1" || !word.starts_with("strewn"))
            .collect();
        assert_eq!(without.len(), 3 * 50 * 6);
        let valid = std::fs::read_to_string(folder.path().join("valid.txt")).unwrap();
        assert_eq!(valid.lines().count(), HELD_OUT);
    }

    #[test]
    fn a_text_of_too_many_types_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(folder.path(), "a b c d", 1, 4).unwrap_err().to_string();
        assert!(error.contains("4 word types") && error.contains("--text"), "{error}");
    }

    /// WikiText-103's clusters have 68, 23.2, 6.15 and 2.65 % of its words. This shorter text has no last
    /// cluster; its words are in the third.
    #[test]
    fn words_by_law_have_the_shares_of_wikitext_103() {
        let folder = tempfile::tempdir().unwrap();
        let shares = write(folder.path(), &by_law(300_000, TYPES), 1, 40_000).unwrap();
        assert_eq!(shares[3], 0.0);
        for (share, percent) in shares.iter().zip([68.0, 23.2, 8.8]) {
            assert!((100.0 * share - percent).abs() < 3.0, "{shares:?}");
        }
    }
}
