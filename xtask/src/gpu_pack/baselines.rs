//! The wheels of a pack: what the benches measure against and a Python with torch lacks.

use std::path::Path;

use fs_err::{self as fs, File};

use crate::error::{Error, Result};
use crate::setup::download;
use crate::setup::pins::Pins;

/// Copies the wheels into `pack`; `kept` keeps them for the next pack.
pub fn copy(kept: &Path, pack: &Path) -> Result<()> {
    fs::create_dir_all(kept)?;
    let lock = File::create(kept.join("lock"))?.into_file();
    lock.lock().map_err(Error::io(kept, "lock"))?;
    let set = Pins::read()?.baselines;
    let folder = pack.join(&set.folder);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir(&folder)?;
    for (wheel, path) in download::wheels(&set, &kept.join("wheels"), &lock)? {
        fs::copy(path, folder.join(&wheel.file))?;
    }
    Ok(())
}
