use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn write(folder: &Path, texts: [&[u8]; 3]) {
    for (split, text) in Split::ALL.into_iter().zip(texts) {
        fs::write(folder.join(format!("{split}.txt")), text).unwrap();
    }
}

fn words(corpus: &Corpus, split: Split) -> Vec<&str> {
    corpus.tokens(split).iter().map(|&id| corpus.vocab().word(id)).collect()
}

#[test]
fn lines_end_in_eos_and_ids_follow_first_appearance() {
    let folder = tempfile::tempdir().unwrap();
    // A byte order mark, both kinds of line end, a blank line, an unterminated last line.
    write(folder.path(), ["\u{feff}b a\r\n\n b".as_bytes(), b"c a\nb\n", b"\td\x0ca \nb\n"]);
    let corpus = Corpus::from_dir(folder.path()).unwrap();
    let train = ["b", "a", "<eos>", "<eos>", "b", "<eos>"];
    assert_eq!(words(&corpus, Split::Train), train);
    assert_eq!(words(&corpus, Split::Valid), ["c", "a", "<eos>", "b", "<eos>"]);
    assert_eq!(words(&corpus, Split::Test), ["d", "a", "<eos>", "b", "<eos>"]);
    assert_eq!(corpus.vocab().iter().collect::<Vec<_>>(), ["b", "a", "<eos>", "c", "d"]);
}

#[test]
fn the_published_file_names_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("wikitext-103");
    fs::create_dir(&inner).unwrap();
    assert!(Corpus::wikitext103(folder.path()).is_err());
    for split in Split::ALL {
        fs::write(inner.join(format!("wiki.{split}.tokens")), "a b\n\n").unwrap();
    }
    assert_eq!(Corpus::wikitext103(folder.path()).unwrap().tokens(Split::Test).len(), 4);
    assert_eq!(Corpus::wikitext103(&inner).unwrap().tokens(Split::Test).len(), 4);
    let missing = Corpus::wikitext103(folder.path().join("nowhere")).unwrap_err().to_string();
    assert!(
        missing.contains("give a folder") && missing.contains("wikitext-103-v1.zip"),
        "{missing}"
    );
}

#[test]
fn a_file_that_cannot_be_accessed_is_not_reported_as_missing() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), [b"a\n", b"a\n", b"a\n"]);
    let train = folder.path().join("train.txt");
    fs::remove_file(&train).unwrap();
    // A loop, because root may read any file.
    std::os::unix::fs::symlink(&train, &train).unwrap();
    let error = Corpus::from_dir(folder.path()).unwrap_err().to_string();
    assert!(error.contains("train.txt: cannot"), "{error}");
}

#[test]
fn large_counts_have_separators() {
    let corpus = Corpus::from_ids("ids", 1234, [vec![0; 5678], vec![0], vec![0]]).unwrap();
    let expected =
        "ids: vocabulary of 1,234 words, train 5,678 tokens, valid 1 tokens, test 1 tokens";
    assert_eq!(corpus.to_string(), expected);
}

/// `cargo xtask test` runs it where the texts exist.
#[test]
#[ignore = "needs wikitext-mini and wikitext-103 in QRNN_SHARED_DATA or ../shared/data"]
fn token_counts_of_the_real_text_are_the_published_ones() {
    let shared = std::env::var_os("QRNN_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        std::path::PathBuf::from,
    );
    let corpus = Corpus::from_text(shared.join("wikitext-mini")).unwrap();
    assert_eq!(Split::ALL.map(|split| corpus.tokens(split).len()), [217_646, 120_297, 125_272]);
    assert_eq!(corpus.vocab().len(), 28_441);
    assert_eq!(corpus.unigram_perplexity(Split::Test).round(), 1555.0);
    let real = shared.join("wikitext-103");
    let mut vocab = Vocab::default();
    let count = |vocab: &mut Vocab, split: &str| {
        reader::text(&real.join(format!("{split}.txt")), vocab, 2).unwrap().len()
    };
    assert_eq!(count(&mut vocab, "valid"), 217_646);
    assert_eq!(count(&mut vocab, "test"), 245_569);
}

#[test]
fn the_first_bad_byte_is_located() {
    let folder = tempfile::tempdir().unwrap();
    for (bad, line, byte) in
        [(&b"a\nb c\xff\n"[..], 2, 4), (b"\xc3(\n\n", 1, 1), (b"a\r\nb\r\n\xe2\x82", 3, 1)]
    {
        write(folder.path(), [bad, b"a\nb\n", b"a\nb\n"]);
        let message = Corpus::from_dir(folder.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("train.txt, line {line}: byte {byte} ")), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_read_or_refused_with_the_file_name(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "[ab \t\r\n\u{1c}\u{a0}é]{0,60}".prop_map(String::into_bytes),
        ],
    ) {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), [&bytes, b"a\nb\n", b"a\nb\n"]);
        match Corpus::from_dir(folder.path()) {
            Ok(corpus) => {
                let ids = corpus.tokens(Split::Train);
                prop_assert!(ids.iter().all(|&id| (id as usize) < corpus.vocab().len()));
                let lines = words(&corpus, Split::Train).iter().filter(|w| **w == "<eos>").count();
                prop_assert!(lines >= 2);
            }
            Err(error) => {
                prop_assert_eq!(crate::command_line::exit_status(&error), 2);
                prop_assert!(error.to_string().contains("train.txt"), "{}", error);
            }
        }
    }

    #[test]
    fn a_written_corpus_is_read_back_unchanged(
        lines in prop::collection::vec("([a-d<>é]{1,3}( [a-d<>é]{1,3}){0,5})?", 6..30),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let text = lines.join("\n") + "\nx\n";
        write(folder.path(), [text.as_bytes(), b"x\ny\n", b"z\nx\n"]);
        let corpus = Corpus::from_dir(folder.path()).unwrap();
        let copy = folder.path().join("again");
        corpus.write_dir(&copy).unwrap();
        let read = Corpus::from_dir(&copy).unwrap();
        for split in Split::ALL {
            prop_assert_eq!(read.tokens(split), corpus.tokens(split));
        }
    }
}

#[test]
fn the_synthetic_text_is_reproducible_and_read_back_unchanged() {
    let corpus = Corpus::synthetic();
    assert_eq!(corpus.tokens(Split::Test), Corpus::synthetic().tokens(Split::Test));
    // If these words change, every published measurement changes.
    let start = words(&corpus, Split::Train)[..4].join(" ");
    assert_eq!(start, "<eos> = music of");
    assert_eq!((corpus.vocab().len(), corpus.tokens(Split::Train).len()), (4132, 400_053));
    let checksums = Split::ALL.map(|split| corpus.checksum(split));
    assert_eq!(checksums, [0x135f_61cc_fa24_5b4a, 0x82a3_5cfc_b356_c03b, 0x5948_47ca_8233_133f]);
    assert_eq!(corpus.vocab().checksum(), 0x00ee_b839_b683_3926);
    let best = corpus.best_perplexity(Split::Test).unwrap();
    assert!((best - 13.470_648_918_712_797).abs() < 1e-9, "{best}");
    let other = SyntheticConfig { seed: 7, ..SyntheticConfig::default() };
    assert_ne!(corpus.tokens(Split::Test), Corpus::synthetic_with(&other).tokens(Split::Test));
    let folder = tempfile::tempdir().unwrap();
    corpus.write_dir(folder.path()).unwrap();
    let read = Corpus::from_dir(folder.path()).unwrap();
    for split in Split::ALL {
        assert_eq!(read.tokens(split), corpus.tokens(split));
    }
}

#[test]
fn the_synthetic_text_has_headings_blank_lines_and_a_zipf_law() {
    let corpus = Corpus::synthetic();
    assert!((3_000..6_000).contains(&corpus.vocab().len()));
    let text = words(&corpus, Split::Train);
    let line_ends = text.iter().filter(|word| **word == "<eos>").count();
    let blank = text.windows(2).filter(|pair| pair == &["<eos>", "<eos>"]).count();
    let headings = text.windows(2).filter(|pair| pair == &["<eos>", "="]).count();
    assert!(headings > 500 && blank > headings && line_ends > 2 * headings);

    // Zipf's law: over two decades of rank, frequency is about inversely proportional to rank.
    let mut counts = vec![0.0f64; corpus.vocab().len()];
    for &id in corpus.tokens(Split::Train) {
        counts[id as usize] += 1.0;
    }
    counts.sort_by(|a, b| b.total_cmp(a));
    let slope = (counts[2000].max(1.0) / counts[20]).ln() / (2001.0f64 / 21.0).ln();
    assert!((-1.4..-0.6).contains(&slope), "{slope}");
}

#[test]
fn take_train_truncates_only_the_training_split() {
    let corpus = Corpus::synthetic();
    let less = corpus.take_train(1000);
    assert_eq!(less.tokens(Split::Train), &corpus.tokens(Split::Train)[..1000]);
    assert_eq!(less.tokens(Split::Test), corpus.tokens(Split::Test));
    assert_eq!(less.vocab().len(), corpus.vocab().len());
    assert_eq!(corpus.take_train(usize::MAX).tokens(Split::Train), corpus.tokens(Split::Train));
}
