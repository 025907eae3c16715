//! Installs a pinned set completely or not at all.

use std::path::Path;

use fs_err::{self as fs, File};

use crate::error::{Error, Result};
use crate::setup::pins::{LINKED_FOLDER, Set, VERSION};
use crate::setup::stamp::Stamp;
use crate::setup::{download, unpack};

/// Prefix of the folders that a set-up works in. Those of a killed set-up are deleted by the next one.
const PARTIAL: &str = "partial-";

/// The wheels until they are unpacked. They survive an interruption.
const DOWNLOADS: &str = "download";

/// Downloads, unpacks into a partial folder, then renames it: a folder with the final name is complete.
/// After an error, what was there before is unchanged.
pub fn run(set: &Set, home: &Path, lock: &std::fs::File) -> Result<()> {
    remove_partials(home)?;
    let wheels = download::wheels(set, &home.join(DOWNLOADS), lock)?;
    let partial = home.join(format!("{PARTIAL}{}", std::process::id()));
    let done = unpack::wheels(&wheels, &partial)
        .and_then(|()| complete(set, &partial))
        .and_then(|()| replace(&partial, &home.join(&set.folder), home));
    if done.is_err() {
        // Free the space if the disk is full; report the first error.
        let _ = remove(&partial);
    }
    done
}

/// Deletes the wheels and partial folders once all sets are installed.
pub fn clear(home: &Path) -> Result<()> {
    remove(&home.join(DOWNLOADS))?;
    remove_partials(home)
}

/// Adds what no wheel holds: the name that torch-sys links, the version that it reads, and our stamp.
fn complete(set: &Set, partial: &Path) -> Result<()> {
    if set.folder == LINKED_FOLDER {
        fs_err::os::unix::fs::symlink("libtorch_cpu.so", partial.join("lib/libtorch.so"))?;
        fs::write(partial.join("build-version"), VERSION)?;
    }
    to_disk(partial)?;
    Stamp::of(set, partial)?.write(partial)
}

/// The stamp also stands for ten thousand headers, so they must reach the disk before it.
#[cfg(target_os = "linux")]
fn to_disk(partial: &Path) -> Result<()> {
    let folder = File::open(partial)?;
    rustix::fs::syncfs(&folder).map_err(|error| Error::io(partial, "write to disk")(error.into()))
}

/// Never called: the pinned wheels are for Linux.
#[cfg(not(target_os = "linux"))]
fn to_disk(_: &Path) -> Result<()> {
    Ok(())
}

/// Renames an older set before it is deleted: half deleted, it could pass for complete.
fn replace(partial: &Path, ours: &Path, home: &Path) -> Result<()> {
    if fs::symlink_metadata(ours).is_ok() {
        fs::rename(ours, home.join(format!("{PARTIAL}{}-former", std::process::id())))?;
    }
    fs::rename(partial, ours)?;
    Ok(File::open(home)?.sync_all()?)
}

fn remove_partials(home: &Path) -> Result<()> {
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Deletes a folder, a file or a link, if there is one.
fn remove(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    Ok(if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupted_setup_left_is_removed() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("partial-1/lib")).unwrap();
        fs::create_dir_all(home.path().join("download/tmp")).unwrap();
        fs::create_dir_all(home.path().join("current")).unwrap();
        clear(home.path()).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert!(home.path().join("current").exists());
    }

    #[test]
    fn a_former_link_is_replaced_and_what_it_led_to_stays() {
        let home = tempfile::tempdir().unwrap();
        let (partial, ours, hand) =
            (home.path().join("partial-1"), home.path().join("current"), home.path().join("hand"));
        fs::create_dir(&hand).unwrap();
        fs::write(hand.join("kept"), "").unwrap();
        std::os::unix::fs::symlink("hand", &ours).unwrap();
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join("new"), "").unwrap();
        replace(&partial, &ours, home.path()).unwrap();
        remove_partials(home.path()).unwrap();
        assert!(ours.join("new").exists() && hand.join("kept").exists());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    }
}
