//! The wheels of a pack: what the benches measure pooling against and a Python with torch lacks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::setup::download;
use crate::setup::pins::{Set, Wheel};

/// Plain Python, all of them; the kernels are in Triton, which comes with torch.
const PEERS: Set =
    Set { folder: "wheels", what: "the peers", wheels: &WHEELS, parts: &[], disk: 0 };

const WHEELS: [Wheel; 4] = [
    // HGRN of flash-linear-attention.
    peer(
        "fla-core",
        "0.6.0",
        "fla_core-0.6.0-py3-none-any.whl",
        "b0708b70e0b119cd58a0a5146ea56cb175cef6ed969d8ac60267e3e077ce3ebd",
    ),
    peer(
        "accelerated-scan",
        "0.3.1",
        "accelerated_scan-0.3.1-py3-none-any.whl",
        "81676a54162bb7b522bbf9eee3a093b18c327be92f3f4c82aab3bc3d6372ec97",
    ),
    // fla-core imports these two, the second without saying so.
    peer(
        "einops",
        "0.8.2",
        "einops-0.8.2-py3-none-any.whl",
        "54058201ac7087911181bfec4af6091bb59380360f069276601256a76af08193",
    ),
    peer(
        "packaging",
        "26.4",
        "packaging-26.4-py3-none-any.whl",
        "81383611a09c1bc0b08b76e0fd5829d7c6824c65b27a6aee339da133f4233ea2",
    ),
];

/// A wheel of plain Python.
const fn peer(
    name: &'static str,
    version: &'static str,
    file: &'static str,
    sha256: &'static str,
) -> Wheel {
    Wheel {
        name,
        version,
        abi: "none",
        platform: "any",
        file,
        sha256,
        folders: &[],
        libraries: &[],
    }
}

/// The wheels, in a folder that keeps them for the next pack.
///
/// # Errors
/// Where pip fails, or a file is not as pinned.
pub fn wheels(folder: &Path) -> Result<Vec<(Wheel, PathBuf)>> {
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let lock = folder.join("lock");
    let lock = File::create(&lock).map_err(Error::io(&lock, "create"))?;
    lock.lock().map_err(Error::io(folder, "lock"))?;
    download::wheels(&PEERS, &folder.join(PEERS.folder), &lock)
}
