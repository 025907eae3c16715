//! Downloads wheels with pip, which knows the user's index, proxy, certificates and cache.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::setup::pins::Wheel;

/// Pip's temporary folder, in the folder that it downloads to.
const SCRATCH: &str = "tmp";

/// The checksum of a file other than the pinned one, which was not kept.
pub type Refused = Option<String>;

/// Downloads a wheel into `folder` and shows pip's progress.
pub fn download(wheel: &Wheel, folder: &Path, fresh: bool, lock: &File) -> Result<Refused> {
    let requirements = folder.join("requirements.txt");
    fs_err::write(&requirements, requirement(wheel))?;
    // Pip writes half a gigabyte to TMPDIR first: /tmp may be small, and a killed pip leaves it there.
    let scratch = folder.join(SCRATCH);
    fs_err::create_dir_all(&scratch)?;
    // On standard error, because standard output belongs to `reproduce --json`.
    let shown = std::io::stderr().as_fd().try_clone_to_owned();
    // Pip inherits the lock: if it outlives a killed set-up, the next one waits for it.
    let locked = lock.try_clone().map_err(Error::io(folder, "lock"))?;
    let mut child = Command::new("python3")
        .args(arguments(wheel, folder, &requirements, fresh))
        .env("TMPDIR", &scratch)
        .stdin(Stdio::from(locked))
        .stdout(Stdio::from(shown.map_err(Error::io("standard error", "open"))?))
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io("python3", "run"))?;
    let said = child.stderr.take().map(|mut stderr| show(&mut stderr, &mut std::io::stderr()));
    let said = said.transpose().map_err(Error::io("pip", "read the output of"))?;
    let status = child.wait().map_err(Error::io("pip", "wait for"))?;
    if status.success() { Ok(None) } else { explain(&wheel.name, &said.unwrap_or_default()) }
}

/// Deletes the temporary files of a killed pip.
pub fn forget_killed(folder: &Path) -> Result<()> {
    match fs_err::remove_dir_all(folder.join(SCRATCH)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// For one wheel and one platform a call: pip 20.0 (Ubuntu 20.04) uses only the last platform given.
fn arguments(wheel: &Wheel, folder: &Path, requirements: &Path, fresh: bool) -> Vec<OsString> {
    let tags = format!(
        "-m pip download --no-input --disable-pip-version-check --no-deps --only-binary=:all: \
         --require-hashes --implementation cp --python-version 3.12 --abi {} --platform {}",
        wheel.abi, wheel.platform
    );
    let mut args: Vec<OsString> = tags.split(' ').map(OsString::from).collect();
    args.extend(fresh.then(|| "--no-cache-dir".into()));
    args.extend(["--dest".into(), folder.into(), "--requirement".into(), requirements.into()]);
    args
}

fn requirement(wheel: &Wheel) -> String {
    format!("{}=={} --hash=sha256:{}\n", wheel.name, wheel.version, wheel.sha256)
}

/// Copies pip's output as it comes, and returns it.
fn show(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<String> {
    let (mut said, mut buffer) = (vec![], [0; 4096]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(String::from_utf8_lossy(&said).into_owned()),
            Ok(n) => {
                said.extend_from_slice(&buffer[..n]);
                // The download goes on where standard error is closed.
                let _ = to.write_all(&buffer[..n]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Explains pip's error to a user who did not call pip.
fn explain(name: &str, said: &str) -> Result<Refused> {
    if said.contains("DO NOT MATCH THE HASHES") {
        let got = said.lines().find_map(|line| line.trim().strip_prefix("Got"));
        return Ok(Some(got.unwrap_or("unknown").trim().into()));
    }
    let mentions = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let (what, remedy) = if mentions(&["No space left on device", "Errno 28"]) {
        let what = "the disk is full (pip's cache takes space too)";
        (what, "free some space (PIP_NO_CACHE_DIR=1 disables the cache)")
    } else if mentions(&["Retrying (", "ConnectionError", "Max retries", "Timeout", "SSLError"]) {
        let what = "cannot reach the package index";
        (what, "check the network and pip's index (pip config list)")
    } else if mentions(&["No matching distribution"]) {
        let what =
            "the package index does not have the pinned wheel, or this pip is too old for it";
        (what, "upgrade pip or check pip's index (pip config list)")
    } else {
        ("pip could not download it", "read pip's output")
    };
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(4)..].join("\n    ");
    Err(Error::machine(
        format!("{name}: {what}; pip says:\n    {last}"),
        format!("{remedy}, then run this again, or set LIBTORCH to your own libtorch 2.11.0"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::pins::Pins;

    fn torch() -> Wheel {
        Pins::read().unwrap().linked.wheels.remove(0)
    }

    #[test]
    fn a_requirement_carries_its_sum() {
        assert_eq!(
            requirement(&torch()),
            "torch==2.11.0 --hash=sha256:\
             0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756\n"
        );
    }

    #[test]
    fn the_cache_is_left_out_only_when_asked() {
        let paths = (Path::new("d"), Path::new("r"));
        let with = |fresh| arguments(&torch(), paths.0, paths.1, fresh);
        assert!(with(true).contains(&"--no-cache-dir".into()));
        assert!(!with(false).contains(&"--no-cache-dir".into()));
        assert!(with(false).ends_with(&["--requirement".into(), "r".into()]));
    }

    #[test]
    fn what_pip_says_is_translated() {
        let network = "WARNING: Retrying (Retry(total=0)) after connection broken by 'X'\n\
                       ERROR: No matching distribution found for torch==2.11.0\n";
        for (said, means) in [
            (network, "cannot reach the package index"),
            ("ERROR: No matching distribution found for torch", "does not have the pinned wheel"),
            ("OSError: [Errno 28] No space left on device", "disk is full"),
            ("ERROR: something new", "something new"),
            ("", "torch: pip could not download it"),
        ] {
            let message = explain("torch", said).unwrap_err().to_string();
            assert!(message.contains(means) && message.contains("what to do"), "{message}");
        }
        let hashes = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    \
                      torch:\n        Expected sha256 0f68\n             Got        abcd\n";
        assert_eq!(explain("torch", hashes).unwrap(), Some("abcd".into()));
    }

    #[test]
    fn all_that_pip_says_is_shown_and_kept() {
        let mut shown = vec![];
        let kept = show(&mut &b"one\ntwo \xff\n"[..], &mut shown).unwrap();
        assert_eq!(kept, "one\ntwo \u{fffd}\n");
        assert_eq!(shown, b"one\ntwo \xff\n");
    }
}
