//! Wheels into the folder that torch-sys links against.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use zip::ZipArchive;

use crate::error::{Error, Result};
use crate::pins::Wheel;

/// Unpacks the wanted files of a wheel below `target`.
///
/// # Errors
/// Where the archive is broken, lacks a wanted library, or the disk is full.
pub fn wheel(wheel: &Wheel, path: &Path, target: &Path) -> Result<()> {
    let broken = |problem: String| Error::Wheel { path: path.into(), problem };
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let mut archive =
        ZipArchive::new(BufReader::new(file)).map_err(|error| broken(error.to_string()))?;

    let mut wanted = vec![];
    let mut bytes = 0;
    for i in 0..archive.len() {
        let entry = archive.by_index_raw(i).map_err(|error| broken(error.to_string()))?;
        if let Some(place) = wheel.place(entry.name()).filter(|_| entry.is_file()) {
            if entry.enclosed_name().is_none() || place.split('/').any(|part| part == "..") {
                return Err(broken(format!("{} leads outside of the archive", entry.name())));
            }
            bytes += entry.size();
            wanted.push((i, place));
        }
    }
    for library in wheel.libraries {
        let place = wheel.place(library);
        if !wanted.iter().any(|(_, found)| Some(found) == place.as_ref()) {
            return Err(broken(format!("has no {library}")));
        }
    }

    let bar = bar(bytes, wheel.requirement);
    for (i, place) in wanted {
        let mut entry = archive.by_index(i).map_err(|error| broken(error.to_string()))?;
        let place = target.join(place);
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        }
        let mut out = File::create(&place).map_err(Error::io(&place, "write"))?;
        copy(&mut entry, &mut out, &place, &bar, &broken)?;
        if wheel.libraries.contains(&entry.name()) {
            // Headers are thousands; one lost in a power cut shows itself at the next build.
            out.sync_all().map_err(Error::io(&place, "write"))?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Copies, and says of an error whether the archive or the disk is to blame.
fn copy(
    from: &mut impl Read,
    to: &mut File,
    place: &Path,
    bar: &ProgressBar,
    broken: &impl Fn(String) -> Error,
) -> Result<()> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = from.read(&mut buffer).map_err(|error| broken(error.to_string()))?;
        if n == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..n]).map_err(Error::io(place, "write"))?;
        bar.inc(n as u64);
    }
}

fn bar(bytes: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    // The template is fixed, so it cannot be refused; a plain bar would do as well.
    if let Ok(style) =
        ProgressStyle::with_template("unpacking {msg} {bar:30} {bytes}/{total_bytes}")
    {
        bar.set_style(style);
    }
    bar.with_message(what)
}

#[cfg(test)]
mod tests {
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    const WHEEL: Wheel = Wheel {
        requirement: "made==1",
        file: "made.whl",
        sha256: "",
        folders: &[("torch/include/", "include/")],
        libraries: &["torch/lib/libc10.so"],
    };

    fn archive(folder: &Path, names: &[&str]) -> std::path::PathBuf {
        let path = folder.join(WHEEL.file);
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for name in names {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    #[test]
    fn only_the_wanted_files_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let names =
            ["torch/include/ATen/ATen.h", "torch/lib/libc10.so", "torch/lib/libtorch_cuda.so"];
        let path = archive(folder.path(), &names);
        let target = folder.path().join("out");
        wheel(&WHEEL, &path, &target).unwrap();
        let header = std::fs::read_to_string(target.join("include/ATen/ATen.h")).unwrap();
        assert_eq!(header, "torch/include/ATen/ATen.h");
        assert!(target.join("lib/libc10.so").exists());
        assert!(!target.join("lib/libtorch_cuda.so").exists());
    }

    #[test]
    fn paths_that_lead_outside_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path =
            archive(folder.path(), &["torch/include/../../../evil.h", "torch/lib/libc10.so"]);
        let error = wheel(&WHEEL, &path, &folder.path().join("out")).unwrap_err();
        assert!(error.to_string().contains("outside"), "{error}");
        assert!(!folder.path().join("evil.h").exists());
    }

    #[test]
    fn a_missing_library_or_a_broken_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(folder.path(), &["torch/include/a.h"]);
        let error = wheel(&WHEEL, &path, &folder.path().join("out")).unwrap_err().to_string();
        assert!(error.contains("libc10.so"), "{error}");
        std::fs::write(&path, b"PK and nothing").unwrap();
        let error = wheel(&WHEEL, &path, &folder.path().join("out")).unwrap_err().to_string();
        assert!(error.contains("made.whl"), "{error}");
    }
}
