use std::fs::{self, FileTimes, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::data::{Corpus, Origin, Split};

fn write(folder: &Path, train: &str) {
    for (split, text) in [("train", train), ("valid", "a\nb\n"), ("test", "a b\n\n")] {
        fs::write(folder.join(format!("{split}.txt")), text).unwrap();
    }
}

/// A folder with a text and its token cache, and the corpus.
fn cached_folder(train: &str) -> (tempfile::TempDir, Corpus) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), train);
    let corpus = Corpus::from_dir(folder.path()).unwrap();
    assert_eq!(corpus.origin(), &Origin::NewCache(folder.path().join(FILE)));
    (folder, corpus)
}

fn equal(one: &Corpus, other: &Corpus) -> bool {
    Split::ALL.iter().all(|split| one.tokens(*split) == other.tokens(*split))
        && one.vocab().iter().eq(other.vocab().iter())
}

fn is_cached(corpus: &Corpus) -> bool {
    matches!(corpus.origin(), Origin::Cache(_))
}

#[test]
fn a_text_is_tokenized_once_and_then_read_from_the_cache() {
    let (folder, first) = cached_folder("b a\nc a é\n");
    for _ in 0..2 {
        let reopened = Corpus::from_dir(folder.path()).unwrap();
        assert!(is_cached(&reopened) && equal(&first, &reopened));
        assert_eq!(reopened.vocab().id("é"), first.vocab().id("é"));
    }
    let text = Corpus::from_text(folder.path()).unwrap();
    assert!(equal(&first, &text) && matches!(text.origin(), Origin::Text(_)));
    // Only the cache was added, with the permissions of the text.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    let mode = |name| fs::metadata(folder.path().join(name)).unwrap().permissions();
    assert_eq!(mode(FILE), mode("train.txt"));
}

#[test]
fn a_changed_text_is_read_again_even_with_the_same_size_and_time() {
    let (folder, first) = cached_folder("b a\nc a\n");
    let train = folder.path().join("train.txt");
    let time = fs::metadata(&train).unwrap().modified().unwrap();
    for text in ["b a\nc b\n", "b a\nc a b\n"] {
        fs::write(&train, text).unwrap();
        let file = OpenOptions::new().write(true).open(&train).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
        let reopened = Corpus::from_dir(folder.path()).unwrap();
        assert!(!is_cached(&reopened) && !equal(&first, &reopened), "{text:?}");
        assert!(equal(&reopened, &Corpus::from_text(folder.path()).unwrap()));
        assert!(is_cached(&Corpus::from_dir(folder.path()).unwrap()));
    }
}

/// BUGS A4: the new text has the size and modification time of the old one, and is written in place or
/// renamed.
#[test]
fn a_new_text_with_an_old_time_is_detected() {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let set_time = |path: &Path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(hour_ago)).unwrap();
    };
    for renamed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "b a\nc a\n");
        let train = folder.path().join("train.txt");
        for split in ["train", "valid", "test"] {
            set_time(&folder.path().join(format!("{split}.txt")));
        }
        std::thread::sleep(CLOCK_TICK + Duration::from_millis(50)); // past the clock tick
        let first = Corpus::from_dir(folder.path()).unwrap();
        assert!(is_cached(&Corpus::from_dir(folder.path()).unwrap()));
        let written = if renamed { folder.path().join("new") } else { train.clone() };
        fs::write(&written, "b a\nc b\n").unwrap();
        set_time(&written);
        fs::rename(&written, &train).unwrap();
        let reopened = Corpus::from_dir(folder.path()).unwrap();
        assert!(!is_cached(&reopened) && !equal(&first, &reopened), "renamed: {renamed}");
    }
}

#[test]
fn a_touched_text_is_recognized_by_its_checksum() {
    let (folder, _) = cached_folder("b a\nc a\n");
    let file = OpenOptions::new().write(true).open(folder.path().join("train.txt")).unwrap();
    let time = SystemTime::now() - Duration::from_secs(1000);
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    assert!(is_cached(&Corpus::from_dir(folder.path()).unwrap()));
}

#[test]
fn a_cache_of_another_text_or_version_is_replaced() {
    let (folder, first) = cached_folder("b a\nc a\n");
    let (other, _) = cached_folder("b a\nd a\n");
    let file = folder.path().join(FILE);
    fs::copy(other.path().join(FILE), &file).unwrap();
    let reopened = Corpus::from_dir(folder.path()).unwrap();
    assert!(!is_cached(&reopened) && equal(&first, &reopened));
    assert!(is_cached(&Corpus::from_dir(folder.path()).unwrap()));

    // The header is JSON within JSON.
    let bytes = fs::read(&file).unwrap();
    let version = format!("\\\"version\\\":{VERSION}");
    let at = bytes.windows(version.len()).position(|window| window == version.as_bytes()).unwrap();
    let mut newer = bytes.clone();
    newer[at + version.len() - 1] += 1;
    fs::write(&file, newer).unwrap();
    assert!(!is_cached(&Corpus::from_dir(folder.path()).unwrap()));
}

#[test]
fn an_unwritable_path_is_skipped_and_a_missing_cache_is_not_an_error() {
    let (folder, corpus) = cached_folder("b a\nc a\n");
    let files = crate::data::folder::files(folder.path()).unwrap();
    let sources = Sources::now(&files).unwrap();
    let tokens = Split::ALL.map(|split| corpus.tokens(split));
    // A folder at the path of the cache makes it unwritable, even for root.
    let unwritable = folder.path().join("unwritable");
    fs::create_dir_all(unwritable.join("file")).unwrap();
    let writable = folder.path().join("user/qrnn/ids");
    let paths = [unwritable.clone(), writable.clone()];
    assert_eq!(store(&paths, &sources, corpus.vocab(), tokens), Ok(writable.clone()));
    assert_eq!(open(&paths, &sources).unwrap().0, writable);
    let reason = store(&[unwritable], &sources, corpus.vocab(), tokens).unwrap_err();
    assert!(reason.contains("unwritable"), "{reason}");

    // A corpus whose cache cannot be written is still read.
    fs::remove_file(folder.path().join(FILE)).unwrap();
    fs::create_dir_all(folder.path().join(FILE).join("file")).unwrap();
    assert!(equal(&corpus, &Corpus::from_dir(folder.path()).unwrap()));
}

#[test]
fn a_text_that_changes_while_it_is_read_is_not_cached() {
    let (folder, corpus) = cached_folder("b a\nc a\n");
    let files = crate::data::folder::files(folder.path()).unwrap();
    let sources = Sources::now(&files).unwrap();
    fs::write(&files[1].paths()[0], "a\nb\nc\n").unwrap();
    let tokens = Split::ALL.map(|split| corpus.tokens(split));
    let path: PathBuf = folder.path().join("ids");
    let reason = store(std::slice::from_ref(&path), &sources, corpus.vocab(), tokens).unwrap_err();
    assert!(reason.contains("changed"), "{reason}");
    assert!(!path.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_damaged_cache_is_never_used_with_wrong_ids(
        cut in prop::option::of(any::<prop::sample::Index>()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        suffix in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        static FOLDER: std::sync::OnceLock<(tempfile::TempDir, Corpus)> = std::sync::OnceLock::new();
        let (folder, corpus) = FOLDER.get_or_init(|| cached_folder("b a\nc a é b b\n"));
        let files = crate::data::folder::files(folder.path()).unwrap();
        let sources = Sources::now(&files).unwrap();
        let mut bytes = fs::read(folder.path().join(FILE)).unwrap();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(suffix);
        let damaged = folder.path().join("damaged");
        fs::write(&damaged, bytes).unwrap();
        if let Some((_, vocab, tokens)) = open(&[damaged], &sources) {
            prop_assert!(vocab.iter().eq(corpus.vocab().iter()));
            for (ids, split) in tokens.iter().zip(Split::ALL) {
                prop_assert_eq!(&**ids, corpus.tokens(split));
            }
        }
    }
}
