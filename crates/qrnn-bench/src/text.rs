//! WikiText-103's test text as tokens, without its training text.

use std::collections::HashMap;
use std::path::Path;

use qrnn::data::Corpus;
use qrnn::model::WIKITEXT103_VOCAB;
use qrnn::{Error, Result};

/// Words of the head of the softmax.
const HEAD: f64 = 2800.0;

/// A corpus of the first `tokens` tokens of the test text.
///
/// The original ids depend on the training text. Here words are numbered in the order of their first
/// appearance in the validation and test texts, and beyond the head spread evenly in the logarithm, so that
/// every cluster has words.
pub fn corpus(data: &Path, tokens: usize) -> Result<Corpus> {
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
    let ids = numbered(&valid, &test, WIKITEXT103_VOCAB);
    let test: Vec<u32> = words(&test).map(|word| ids[word]).take(tokens).collect();
    Corpus::from_ids("the test text", WIKITEXT103_VOCAB, [vec![0; 20], test.clone(), test])
}

/// A corpus of all tokens of a text, in a vocabulary of `types` words, numbered as in [`corpus`].
pub fn corpus_of_file(path: &Path, types: usize) -> Result<Corpus> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let ids = numbered(&text, "", types);
    let tokens: Vec<u32> = words(&text).map(|word| ids[word]).collect();
    Corpus::from_ids("a text", types, [vec![0; 20], tokens.clone(), tokens])
}

/// The ids of the words of two texts.
fn numbered<'a>(first: &'a str, second: &'a str, types: usize) -> HashMap<&'a str, u32> {
    let mut ranks: HashMap<&str, usize> = HashMap::from([("<eos>", 0)]);
    for word in words(first).chain(words(second)) {
        let rank = ranks.len();
        ranks.entry(word).or_insert(rank);
    }
    let stretch = (types as f64 / HEAD).ln() / (ranks.len() as f64 / HEAD).ln();
    let mut free = 0;
    let ids: Vec<u32> = (0..ranks.len())
        .map(|rank| {
            let rank = rank as f64;
            let id = if rank < HEAD { rank } else { HEAD * (rank / HEAD).powf(stretch) };
            let id = (id as u32).max(free).min(types as u32 - 1);
            free = id + 1;
            id
        })
        .collect();
    ranks.into_iter().map(|(word, rank)| (word, ids[rank])).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split_whitespace().chain(["<eos>"]))
}

#[cfg(test)]
mod tests {
    use qrnn::data::Split;

    use super::*;

    #[test]
    fn words_are_numbered_by_appearance_and_spread_over_the_vocabulary() {
        let folder = tempfile::tempdir().unwrap();
        let valid: String = (0..9000).map(|i| format!("w{i} ")).collect();
        std::fs::write(folder.path().join("valid.txt"), valid).unwrap();
        std::fs::write(folder.path().join("wiki.test.tokens"), "w0 w2798\nw2799 w8999\n").unwrap();
        let corpus = corpus(folder.path(), 5).unwrap();
        let ids = corpus.tokens(Split::Test);
        assert_eq!((&ids[..3], ids.len()), (&[1, 2799, 0][..], 5));
        assert_eq!(ids[3], 2800);
        assert!((260_000..267_735).contains(&ids[4]), "{ids:?}");
    }
}
