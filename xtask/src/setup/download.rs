//! Downloads the pinned wheels and checks their checksums, whatever pip has checked.

use std::io::Read;
use std::path::{Path, PathBuf};

use fs_err::{self as fs, File};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::setup::pins::{Set, Wheel};
use crate::setup::pip;
use crate::terminal;

/// Downloads the wheels of a set into `folder`, except those that are there and undamaged.
pub fn wheels<'a>(
    set: &'a Set,
    folder: &Path,
    lock: &std::fs::File,
) -> Result<Vec<(&'a Wheel, PathBuf)>> {
    fs::create_dir_all(folder)?;
    pip::forget_killed(folder)?;
    let path = |wheel: &Wheel| {
        whole(wheel, &folder.join(&wheel.file), |fresh| {
            terminal::note(format_args!("downloading {} {} with pip", wheel.name, wheel.version));
            pip::download(wheel, folder, fresh, lock)
        })
    };
    set.wheels.iter().map(|wheel| Ok((wheel, path(wheel)?))).collect()
}

/// Returns the path of a wheel that has the pinned checksum. `fetch` is called where there is none, and
/// again, without pip's cache, where it brought another file.
fn whole(
    wheel: &Wheel,
    path: &Path,
    mut fetch: impl FnMut(bool) -> Result<pip::Refused>,
) -> Result<PathBuf> {
    let expected = &wheel.sha256;
    let Some(mut actual) = other_sum(wheel, path)? else { return Ok(path.into()) };
    for fresh in [false, true] {
        actual = match fetch(fresh)? {
            Some(sum) => sum,
            None => match other_sum(wheel, path)? {
                Some(sum) => sum,
                None => return Ok(path.into()),
            },
        };
        if !fresh {
            let file = &wheel.file;
            let line = format_args!("{file} came with sha256 {actual}; downloading it again");
            terminal::note(line);
        }
    }
    Err(Error::failed(
        format!(
            "{} is not the pinned file\n  expected sha256 {expected}\n  actual sha256   {actual}",
            wheel.file
        ),
        "check the package index that pip uses (pip config list): it serves another file than PyPI, \
         or damages it",
    ))
}

/// `None` where the wheel has the pinned checksum; else the checksum of the file, which is deleted.
fn other_sum(wheel: &Wheel, path: &Path) -> Result<pip::Refused> {
    if !path.exists() {
        return Ok(Some("of no file".into()));
    }
    let actual = sha256(path)?;
    if actual == wheel.sha256 {
        return Ok(None);
    }
    terminal::note(format_args!("{} is damaged or incomplete; deleted", path.display()));
    fs::remove_file(path)?;
    Ok(Some(actual))
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::pins::Pins;

    /// The checksum is that of "abc", from the standard that defines SHA-256.
    fn wheel() -> Wheel {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into();
        Wheel { file: "abc.whl".into(), sha256, ..Pins::read().unwrap().nvrtc.wheels.remove(0) }
    }

    /// Runs `whole` on a file, with downloads of these texts; returns the number of downloads.
    fn run(before: Option<&str>, brought: &[&str]) -> (Result<PathBuf>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(wheel().file);
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
        let mut fetched = 0;
        let result = whole(&wheel(), &path, |fresh| {
            assert_eq!(fresh, fetched > 0);
            assert!(!path.exists(), "the damaged file was left");
            fs::write(&path, brought[fetched]).unwrap();
            fetched += 1;
            Ok(None)
        });
        (result, fetched)
    }

    #[test]
    fn a_whole_wheel_is_not_fetched_again() {
        assert!(matches!(run(Some("abc"), &[]), (Ok(_), 0)));
    }

    #[test]
    fn a_missing_or_damaged_wheel_is_fetched() {
        assert!(matches!(run(None, &["abc"]), (Ok(_), 1)));
        assert!(matches!(run(Some("ab"), &["abc"]), (Ok(_), 1)));
        assert!(matches!(run(Some("ab"), &["abd", "abc"]), (Ok(_), 2)));
    }

    #[test]
    fn a_wheel_that_stays_wrong_is_refused_with_both_sums() {
        let (result, fetched) = run(None, &["abd", "abd"]);
        let message = result.unwrap_err().to_string();
        assert_eq!(fetched, 2);
        assert!(message.contains(&wheel().sha256) && message.contains("a52d159f"), "{message}");
    }

    #[test]
    fn pips_own_refusal_counts_as_a_wrong_sum() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |_| Ok(Some("feed".into()));
        let error = whole(&wheel(), &folder.path().join(wheel().file), refused).unwrap_err();
        assert!(error.to_string().contains("feed"));
    }
}
