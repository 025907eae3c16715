//! The wheels of a pack: what the benches measure against and a Python with torch lacks.

use std::fs::{self, File};
use std::path::Path;

use crate::error::{Error, Result};
use crate::setup::download;
use crate::setup::pins::Pins;

/// Copies the wheels into `pack`; `kept` keeps them for the next pack.
///
/// # Errors
/// Where pip fails, a file is not as pinned, or there is no space.
pub fn copy(kept: &Path, pack: &Path) -> Result<()> {
    fs::create_dir_all(kept).map_err(Error::io(kept, "create"))?;
    let lock = kept.join("lock");
    let lock = File::create(&lock).map_err(Error::io(&lock, "create"))?;
    lock.lock().map_err(Error::io(kept, "lock"))?;
    let pins = Pins::read()?;
    let folder = pack.join(&pins.baselines.folder);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::io(&folder, "delete"))?;
    }
    fs::create_dir(&folder).map_err(Error::io(&folder, "create"))?;
    for (wheel, path) in download::wheels(&pins.baselines, &kept.join("wheels"), &lock)? {
        let place = folder.join(&wheel.file);
        fs::copy(&path, &place).map_err(Error::io(&place, "write"))?;
    }
    Ok(())
}
