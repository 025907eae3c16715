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

/// A folder with a text, and the corpus as its first opening gave it.
fn kept(train: &str) -> (tempfile::TempDir, Corpus) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), train);
    let corpus = Corpus::from_dir(folder.path()).unwrap();
    assert_eq!(corpus.origin(), &Origin::Kept(folder.path().join(FILE)));
    (folder, corpus)
}

fn same(one: &Corpus, other: &Corpus) -> bool {
    Split::ALL.iter().all(|split| one.tokens(*split) == other.tokens(*split))
        && one.vocab().iter().eq(other.vocab().iter())
}

fn cached(corpus: &Corpus) -> bool {
    matches!(corpus.origin(), Origin::Cache(_))
}

#[test]
fn a_text_is_read_once_and_found_alike() {
    let (folder, first) = kept("b a\nc a é\n");
    for _ in 0..2 {
        let again = Corpus::from_dir(folder.path()).unwrap();
        assert!(cached(&again) && same(&first, &again));
        assert_eq!(again.vocab().id("é"), first.vocab().id("é"));
    }
    let text = Corpus::from_text(folder.path()).unwrap();
    assert!(same(&first, &text) && matches!(text.origin(), Origin::Text(_)));
    // Nothing but the one file is left, and others may read what they may read of the text.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    let mode = |name| fs::metadata(folder.path().join(name)).unwrap().permissions();
    assert_eq!(mode(FILE), mode("train.txt"));
}

#[test]
fn a_changed_text_is_read_anew_even_at_the_same_size_and_time() {
    let (folder, first) = kept("b a\nc a\n");
    let train = folder.path().join("train.txt");
    let time = fs::metadata(&train).unwrap().modified().unwrap();
    for text in ["b a\nc b\n", "b a\nc a b\n"] {
        fs::write(&train, text).unwrap();
        let file = OpenOptions::new().write(true).open(&train).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
        let again = Corpus::from_dir(folder.path()).unwrap();
        assert!(!cached(&again) && !same(&first, &again), "{text:?}");
        assert!(same(&again, &Corpus::from_text(folder.path()).unwrap()));
        assert!(cached(&Corpus::from_dir(folder.path()).unwrap()));
    }
}

/// BUGS A4: however old the kept ids are, another text of the same length and time of modification
/// is told apart, whether it was written into the file or renamed to it.
#[test]
fn another_text_of_an_old_time_is_noticed() {
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
        std::thread::sleep(TICK + Duration::from_millis(50)); // the file system's clock has moved on
        let first = Corpus::from_dir(folder.path()).unwrap();
        assert!(cached(&Corpus::from_dir(folder.path()).unwrap()));
        let written = if renamed { folder.path().join("new") } else { train.clone() };
        fs::write(&written, "b a\nc b\n").unwrap();
        set_time(&written);
        fs::rename(&written, &train).unwrap();
        let again = Corpus::from_dir(folder.path()).unwrap();
        assert!(!cached(&again) && !same(&first, &again), "renamed: {renamed}");
    }
}

#[test]
fn a_text_that_was_copied_or_touched_is_known_by_its_sum() {
    let (folder, _) = kept("b a\nc a\n");
    let file = OpenOptions::new().write(true).open(folder.path().join("train.txt")).unwrap();
    let time = SystemTime::now() - Duration::from_secs(1000);
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    assert!(cached(&Corpus::from_dir(folder.path()).unwrap()));
}

#[test]
fn a_file_of_another_text_or_version_is_replaced() {
    let (folder, first) = kept("b a\nc a\n");
    let (other, _) = kept("b a\nd a\n");
    let file = folder.path().join(FILE);
    fs::copy(other.path().join(FILE), &file).unwrap();
    let again = Corpus::from_dir(folder.path()).unwrap();
    assert!(!cached(&again) && same(&first, &again));
    assert!(cached(&Corpus::from_dir(folder.path()).unwrap()));

    // In the header as JSON within JSON.
    let bytes = fs::read(&file).unwrap();
    let version = format!("\\\"version\\\":{VERSION}");
    let place = bytes.windows(version.len()).position(|part| part == version.as_bytes()).unwrap();
    let mut newer = bytes.clone();
    newer[place + version.len() - 1] += 1;
    fs::write(&file, newer).unwrap();
    assert!(!cached(&Corpus::from_dir(folder.path()).unwrap()));
}

#[test]
fn where_the_folder_takes_nothing_the_next_place_is_used_and_none_is_no_error() {
    let (folder, corpus) = kept("b a\nc a\n");
    let files = ["train", "valid", "test"].map(|split| folder.path().join(format!("{split}.txt")));
    let seen = Seen::now(&files).unwrap();
    let tokens = Split::ALL.map(|split| corpus.tokens(split));
    // A folder where a file should be refuses as an unwritable one does.
    let taken = folder.path().join("taken");
    fs::create_dir_all(taken.join("by")).unwrap();
    let free = folder.path().join("user/qrnn/ids");
    let places = [taken.clone(), free.clone()];
    assert_eq!(keep(&places, &seen, corpus.vocab(), tokens), Ok(free.clone()));
    assert_eq!(open(&places, &seen).unwrap().0, free);
    let refused = keep(&[taken], &seen, corpus.vocab(), tokens).unwrap_err();
    assert!(refused.contains("taken"), "{refused}");

    // And without the first kept file, an opening that cannot keep is a reading.
    fs::remove_file(folder.path().join(FILE)).unwrap();
    fs::create_dir_all(folder.path().join(FILE).join("by")).unwrap();
    assert!(same(&corpus, &Corpus::from_dir(folder.path()).unwrap()));
}

#[test]
fn a_text_that_changes_while_it_is_read_is_not_kept() {
    let (folder, corpus) = kept("b a\nc a\n");
    let files = ["train", "valid", "test"].map(|split| folder.path().join(format!("{split}.txt")));
    let seen = Seen::now(&files).unwrap();
    fs::write(&files[1], "a\nb\nc\n").unwrap();
    let tokens = Split::ALL.map(|split| corpus.tokens(split));
    let place: PathBuf = folder.path().join("ids");
    let refused = keep(std::slice::from_ref(&place), &seen, corpus.vocab(), tokens).unwrap_err();
    assert!(refused.contains("changed"), "{refused}");
    assert!(!place.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// However a kept file is spoiled, the ids are those of the text.
    #[test]
    fn spoiled_files_are_noticed(
        cut in prop::option::of(any::<prop::sample::Index>()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        more in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        static KEPT: std::sync::OnceLock<(tempfile::TempDir, Corpus)> = std::sync::OnceLock::new();
        let (folder, corpus) = KEPT.get_or_init(|| kept("b a\nc a é b b\n"));
        let files =
            ["train", "valid", "test"].map(|split| folder.path().join(format!("{split}.txt")));
        let seen = Seen::now(&files).unwrap();
        let mut bytes = fs::read(folder.path().join(FILE)).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(more);
        let spoiled = folder.path().join("spoiled");
        fs::write(&spoiled, bytes).unwrap();
        if let Some((_, kept)) = open(&[spoiled], &seen) {
            prop_assert!(kept.vocab.iter().eq(corpus.vocab().iter()));
            for (ids, split) in kept.tokens.iter().zip(Split::ALL) {
                prop_assert_eq!(&**ids, corpus.tokens(split));
            }
        }
    }
}
