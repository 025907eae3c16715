//! Unpacks wheels.

use std::fmt::Display;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use fs_err::{self as fs, File};
use indicatif::{ProgressBar, ProgressStyle};
use zip::ZipArchive;

use crate::error::{Error, Result};
use crate::setup::pins::Wheel;
use crate::terminal;

/// A wheel, and the entries to unpack with their places.
struct Wanted<'a> {
    wheel: &'a Wheel,
    path: &'a Path,
    archive: ZipArchive<BufReader<File>>,
    entries: Vec<(usize, String)>,
    bytes: u64,
}

/// Unpacks the wanted files of all wheels below `target`.
pub fn wheels(wheels: &[(&Wheel, PathBuf)], target: &Path) -> Result<()> {
    // All are checked before a byte is written.
    let wanted = wheels.iter().map(|(wheel, path)| Wanted::of(wheel, path));
    let wanted: Vec<Wanted> = wanted.collect::<Result<_>>()?;
    let bar = bar(wanted.iter().map(|wanted| wanted.bytes).sum());
    for wanted in wanted {
        wanted.unpack(target, &bar)?;
    }
    bar.finish_and_clear();
    Ok(())
}

impl<'a> Wanted<'a> {
    fn of(wheel: &'a Wheel, path: &'a Path) -> Result<Self> {
        let mut archive =
            ZipArchive::new(BufReader::new(File::open(path)?)).map_err(broken(path))?;
        let (mut entries, mut bytes) = (vec![], 0);
        for i in 0..archive.len() {
            let entry = archive.by_index_raw(i).map_err(broken(path))?;
            if let Some(place) = wheel.place(entry.name()).filter(|_| entry.is_file()) {
                if entry.enclosed_name().is_none() || place.split('/').any(|part| part == "..") {
                    return Err(broken(path)(format!(
                        "{} is a path that leads outside",
                        entry.name()
                    )));
                }
                bytes += entry.size();
                entries.push((i, place));
            }
        }
        for library in &wheel.libraries {
            let place = wheel.place(library);
            if !entries.iter().any(|(_, found)| Some(found) == place.as_ref()) {
                return Err(broken(path)(format!("has no {library}")));
            }
        }
        Ok(Self { wheel, path, archive, entries, bytes })
    }

    fn unpack(mut self, target: &Path, bar: &ProgressBar) -> Result<()> {
        for (i, place) in self.entries {
            let mut entry = self.archive.by_index(i).map_err(broken(self.path))?;
            let place = target.join(place);
            if let Some(folder) = place.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut out = File::create(&place)?;
            io::copy(&mut bar.wrap_read(&mut entry), &mut out)?;
            if self.wheel.libraries.iter().any(|library| library == entry.name()) {
                out.sync_all()?;
            }
        }
        Ok(())
    }
}

/// A wheel is not laid out as expected.
fn broken<P: Display>(path: &Path) -> impl Fn(P) -> Error {
    move |problem| {
        let what = format!("{}: {problem}", path.display());
        Error::failed(what, "run the command again; if it fails again, report this")
    }
}

fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if bar.is_hidden() {
        terminal::note(format_args!("unpacking {} MB", bytes / 1_000_000));
    }
    // This fixed template is valid; if it were not, a plain bar would appear.
    if let Ok(style) = ProgressStyle::with_template("unpacking {bar:40} {bytes}/{total_bytes}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::setup::pins::Pins;

    fn wheel() -> Wheel {
        Wheel {
            file: "made.whl".into(),
            libraries: vec!["torch/lib/libc10.so".into()],
            ..Pins::read().unwrap().linked.wheels.remove(0)
        }
    }

    fn unpack(path: &Path, target: &Path) -> Result<()> {
        wheels(&[(&wheel(), path.into())], target)
    }

    fn archive(folder: &Path, names: &[&str]) -> PathBuf {
        let path = folder.join(wheel().file);
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
        unpack(&path, &target).unwrap();
        let header = fs::read_to_string(target.join("include/ATen/ATen.h")).unwrap();
        assert_eq!(header, "torch/include/ATen/ATen.h");
        assert!(target.join("lib/libc10.so").exists());
        assert!(!target.join("lib/libtorch_cuda.so").exists());
    }

    #[test]
    fn libraries_of_cuda_keep_their_places() {
        let pins = Pins::read().unwrap();
        let nvrtc = |name| pins.nvrtc.wheels[0].place(name);
        let library = "nvidia/cu13/lib/libnvrtc.so.13";
        assert_eq!(nvrtc(library).as_deref(), Some(library));
        assert_eq!(nvrtc("nvidia/cu13/lib/libnvrtc.alt.so.13"), None);
        for wheel in &pins.cuda.wheels {
            for library in &wheel.libraries {
                assert_eq!(wheel.place(library).as_ref(), Some(library));
            }
            for other in
                ["torch/lib/libtorch_cpu.so", "torch/include/a.h", "nvidia/cudnn/include/a.h"]
            {
                assert_eq!(wheel.place(other), None);
            }
        }
    }

    #[test]
    fn paths_that_lead_outside_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path =
            archive(folder.path(), &["torch/include/../../../evil.h", "torch/lib/libc10.so"]);
        let error = unpack(&path, &folder.path().join("out")).unwrap_err();
        assert!(error.to_string().contains("outside"), "{error}");
        assert!(!folder.path().join("evil.h").exists());
    }

    #[test]
    fn a_missing_library_or_a_broken_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(folder.path(), &["torch/include/a.h"]);
        let error = unpack(&path, &folder.path().join("out")).unwrap_err().to_string();
        assert!(error.contains("libc10.so"), "{error}");
        fs::write(&path, b"PK and nothing").unwrap();
        let error = unpack(&path, &folder.path().join("out")).unwrap_err().to_string();
        assert!(error.contains("made.whl"), "{error}");
    }
}
