//! The pinned wheels, fetched by pip and checked by their sums.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::pins::{PLATFORMS, WHEELS, Wheel};

/// Brings all wheels into `folder`; those that lie there whole are kept.
///
/// # Errors
/// Where pip fails, or a file has another checksum even after it was fetched anew.
pub fn wheels(folder: &Path) -> Result<Vec<(Wheel, PathBuf)>> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    if !missing(folder)?.is_empty() {
        fetch(folder)?;
    }
    if !missing(folder)?.is_empty() {
        fetch(folder)?;
    }
    let mut found = vec![];
    for wheel in WHEELS {
        let path = folder.join(wheel.file);
        let actual = if path.exists() { sha256(&path)? } else { "no content".into() };
        if actual != wheel.sha256 {
            let (file, expected) = (wheel.file.into(), wheel.sha256.into());
            return Err(Error::Checksum { file, expected, actual });
        }
        found.push((wheel, path));
    }
    Ok(found)
}

/// The wheels that do not lie in the folder whole; broken ones are deleted.
fn missing(folder: &Path) -> Result<Vec<Wheel>> {
    let mut missing = vec![];
    for wheel in WHEELS {
        let path = folder.join(wheel.file);
        if path.exists() {
            if sha256(&path)? == wheel.sha256 {
                continue;
            }
            eprintln!("{} is not whole; fetching it again", wheel.file);
            std::fs::remove_file(&path).map_err(Error::io(&path, "delete"))?;
        }
        missing.push(wheel);
    }
    Ok(missing)
}

/// Runs pip, with its own progress shown.
fn fetch(folder: &Path) -> Result<()> {
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, requirement_lines())
        .map_err(Error::io(&requirements, "write"))?;
    let mut pip = Command::new("python3");
    // One set of wheels for every machine, whatever Python runs pip here.
    pip.args(["-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"])
        .args(["--python-version", "3.12", "--implementation", "cp"])
        .args(["--abi", "cp312", "--abi", "none", "--disable-pip-version-check"]);
    for platform in PLATFORMS {
        pip.args(["--platform", platform]);
    }
    pip.arg("--dest").arg(folder).arg("--requirement").arg(&requirements);
    eprintln!("fetching libtorch (530 MB) with pip");
    let mut child = pip
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            Error::machine(format!("python3 cannot be run: {error}"), "install Python 3 with pip")
        })?;
    let mut said = String::new();
    if let Some(stderr) = &mut child.stderr {
        // What pip says may hold any bytes; it is shown, not parsed.
        let mut bytes = vec![];
        stderr.read_to_end(&mut bytes).map_err(Error::io("pip", "hear"))?;
        said = String::from_utf8_lossy(&bytes).into_owned();
    }
    let status = child.wait().map_err(Error::io("pip", "wait for"))?;
    if status.success() {
        return Ok(());
    }
    let mut last: Vec<&str> = said.lines().rev().filter(|line| !line.is_empty()).take(3).collect();
    last.reverse();
    Err(Error::machine(
        format!("pip could not fetch libtorch; it says:\n    {}", last.join("\n    ")),
        "check the network and the package index (pip config list), then run this again; or set \
         LIBTORCH to a libtorch 2.11.0 of your own",
    ))
}

fn requirement_lines() -> String {
    WHEELS.iter().map(|w| format!("{} --hash=sha256:{}\n", w.requirement, w.sha256)).collect()
}

/// The checksum of a file, in lower-case hexadecimal digits.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path, "read"))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(Error::io(path, "read"))? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_finished_download_is_noticed_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let half = folder.path().join(WHEELS[0].file);
        std::fs::write(&half, b"half of it").unwrap();
        assert_eq!(missing(folder.path()).unwrap().len(), WHEELS.len());
        assert!(!half.exists());
    }

    #[test]
    fn sums_are_those_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, b"abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), expected);
    }

    #[test]
    fn every_requirement_carries_its_sum() {
        let lines = requirement_lines();
        assert_eq!(lines.lines().count(), WHEELS.len());
        assert!(lines.lines().all(|line| line.contains("==") && line.contains(" --hash=sha256:")));
    }
}
