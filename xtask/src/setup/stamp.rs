//! The stamp in an installed set: which wheels it was unpacked from.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err::File;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::setup::pins::{Set, VERSION};

const NAME: &str = "qrnn-stamp.json";

/// The wheels, and the sizes of their libraries.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    version: String,
    wheels: Vec<String>,
    libraries: BTreeMap<String, u64>,
}

impl Stamp {
    pub fn of(set: &Set, folder: &Path) -> Result<Self> {
        let libraries = pinned(set).map(|library| {
            let size = fs_err::metadata(folder.join(&library))?.len();
            Ok((library, size))
        });
        let libraries = libraries.collect::<Result<_>>()?;
        let wheels = set.wheels.iter().map(|wheel| wheel.sha256.clone()).collect();
        Ok(Self { version: VERSION.into(), wheels, libraries })
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut file = File::create(folder.join(NAME))?;
        serde_json::to_writer_pretty(&mut file, self).map_err(std::io::Error::from)?;
        Ok(file.sync_all()?)
    }
}

/// `None` where `folder` holds the complete set of these pins; else what is wrong.
pub fn amiss(set: &Set, folder: &Path) -> Option<String> {
    let Ok(text) = fs_err::read_to_string(folder.join(NAME)) else {
        return Some(format!("{} has no {NAME}: set-up did not put it there", folder.display()));
    };
    let Ok(written) = serde_json::from_str::<Stamp>(&text) else {
        return Some(format!("its {NAME} is damaged"));
    };
    let wheels = set.wheels.iter().map(|wheel| &wheel.sha256);
    if written.version != VERSION || !wheels.eq(&written.wheels) {
        return Some(format!("it is {} of other wheels than the pinned ones", written.version));
    }
    let damage = |library: String| {
        let Ok(found) = fs_err::metadata(folder.join(&library)) else {
            return Some(format!("{library} is missing"));
        };
        let size = found.len();
        let is_whole = written.libraries.get(&library) == Some(&size);
        (!is_whole).then(|| format!("{library} is damaged: it has {size} bytes"))
    };
    let mut parts = set.parts.iter().filter(|path| !folder.join(path).exists());
    pinned(set).find_map(damage).or_else(|| Some(format!("{} is missing", parts.next()?)))
}

/// The paths of the pinned libraries.
fn pinned(set: &Set) -> impl Iterator<Item = String> {
    set.wheels.iter().flat_map(|wheel| wheel.libraries.iter().filter_map(|name| wheel.place(name)))
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;
    use crate::setup::pins::Pins;

    fn pins() -> Pins {
        Pins::read().unwrap()
    }

    fn installed() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("lib")).unwrap();
        fs::create_dir_all(folder.path().join("include/ATen")).unwrap();
        fs::create_dir_all(folder.path().join("include/torch/csrc/api/include")).unwrap();
        fs::write(folder.path().join("include/ATen/ATen.h"), "").unwrap();
        fs::write(folder.path().join("build-version"), VERSION).unwrap();
        for wheel in &pins().linked.wheels {
            for library in &wheel.libraries {
                fs::write(folder.path().join(wheel.place(library).unwrap()), library).unwrap();
            }
        }
        fs::write(folder.path().join("lib/libtorch.so"), "").unwrap();
        Stamp::of(&pins().linked, folder.path()).unwrap().write(folder.path()).unwrap();
        folder
    }

    #[test]
    fn a_whole_install_has_nothing_amiss() {
        assert_eq!(amiss(&pins().linked, installed().path()), None);
    }

    #[test]
    fn each_set_has_a_stamp_of_its_own() {
        for set in [pins().nvrtc, pins().cuda] {
            let set = &set;
            let folder = tempfile::tempdir().unwrap();
            for library in pinned(set) {
                let path = folder.path().join(library);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            assert!(amiss(set, folder.path()).unwrap().contains("did not put it there"));
            Stamp::of(set, folder.path()).unwrap().write(folder.path()).unwrap();
            assert_eq!(amiss(set, folder.path()), None);
            assert!(amiss(&pins().linked, folder.path()).unwrap().contains("other wheels"));
        }
    }

    #[test]
    fn every_kind_of_damage_is_named() {
        type Damage = fn(&Path) -> std::io::Result<()>;
        let damages: [(&str, Damage); 7] = [
            ("lib/libc10.so is damaged", |f| fs::write(f.join("lib/libc10.so"), "cut")),
            ("libtorch_cpu.so is missing", |f| fs::remove_file(f.join("lib/libtorch_cpu.so"))),
            ("did not put it there", |f| fs::remove_file(f.join(NAME))),
            ("stamp.json is damaged", |f| fs::write(f.join(NAME), "{")),
            ("ATen.h is missing", |f| fs::remove_dir_all(f.join("include"))),
            ("libtorch.so is missing", |f| fs::remove_file(f.join("lib/libtorch.so"))),
            ("build-version is missing", |f| fs::remove_file(f.join("build-version"))),
        ];
        for (expected, damage) in damages {
            let folder = installed();
            damage(folder.path()).unwrap();
            let said = amiss(&pins().linked, folder.path()).unwrap();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn other_pins_are_noticed() {
        type Change = fn(&mut Stamp);
        let changes: [Change; 2] = [|s| s.version = "2.10.0".into(), |s| s.wheels[1] = "0".into()];
        for change in changes {
            let folder = installed();
            let mut stamp = Stamp::of(&pins().linked, folder.path()).unwrap();
            change(&mut stamp);
            stamp.write(folder.path()).unwrap();
            assert!(amiss(&pins().linked, folder.path()).unwrap().contains("other wheels"));
        }
    }
}
