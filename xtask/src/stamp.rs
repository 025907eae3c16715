//! The note in an installed libtorch that says what was put there.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pins::{VERSION, WHEELS};

const NAME: &str = "qrnn-stamp.json";

/// Which wheels were unpacked, and how large their libraries are.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    version: String,
    wheels: Vec<String>,
    libraries: BTreeMap<String, u64>,
}

impl Stamp {
    /// Describes what lies in `folder`.
    pub fn of(folder: &Path) -> Result<Self> {
        let mut libraries = BTreeMap::new();
        for library in WHEELS
            .iter()
            .flat_map(|wheel| wheel.libraries.iter().filter_map(|library| wheel.place(library)))
        {
            let path = folder.join(&library);
            let size = std::fs::metadata(&path).map_err(Error::io(&path, "find"))?.len();
            libraries.insert(library, size);
        }
        let wheels = WHEELS.iter().map(|wheel| wheel.sha256.into()).collect();
        Ok(Self { version: VERSION.into(), wheels, libraries })
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(NAME);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::io(&path, "write")(error.into()))?;
        std::fs::write(&path, text).map_err(Error::io(&path, "write"))
    }
}

/// `None` where `folder` holds a whole libtorch of these pins, else what is amiss.
pub fn amiss(folder: &Path) -> Option<String> {
    let Ok(text) = std::fs::read_to_string(folder.join(NAME)) else {
        return Some("it was not finished".into());
    };
    let Ok(written) = serde_json::from_str::<Stamp>(&text) else {
        return Some("its stamp is damaged".into());
    };
    match Stamp::of(folder) {
        Err(error) => Some(error.to_string().lines().next().unwrap_or_default().into()),
        Ok(found) if found.wheels != written.wheels => Some("it is of other wheels".into()),
        Ok(found) if found != written => Some("a library has another size than it had".into()),
        Ok(_) if !folder.join("include/ATen").is_dir() => Some("its headers are missing".into()),
        Ok(_) if !folder.join("lib/libtorch.so").exists() => {
            Some("lib/libtorch.so is missing".into())
        }
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn installed() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("lib")).unwrap();
        fs::create_dir_all(folder.path().join("include/ATen")).unwrap();
        for wheel in WHEELS {
            for library in wheel.libraries {
                fs::write(folder.path().join(wheel.place(library).unwrap()), library).unwrap();
            }
        }
        fs::write(folder.path().join("lib/libtorch.so"), "").unwrap();
        Stamp::of(folder.path()).unwrap().write(folder.path()).unwrap();
        folder
    }

    #[test]
    fn a_whole_install_has_nothing_amiss() {
        assert_eq!(amiss(installed().path()), None);
    }

    #[test]
    fn every_kind_of_damage_is_noticed() {
        type Damage = fn(&Path) -> std::io::Result<()>;
        let damages: [Damage; 6] = [
            |f| fs::write(f.join("lib/libc10.so"), "cut"),
            |f| fs::remove_file(f.join("lib/libtorch_cpu.so")),
            |f| fs::remove_file(f.join(NAME)),
            |f| fs::write(f.join(NAME), "{"),
            |f| fs::remove_dir_all(f.join("include")),
            |f| fs::remove_file(f.join("lib/libtorch.so")),
        ];
        for damage in damages {
            let folder = installed();
            damage(folder.path()).unwrap();
            assert!(amiss(folder.path()).is_some());
        }
    }
}
