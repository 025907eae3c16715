//! The user's cache folder.

use std::path::PathBuf;

/// The folder `qrnn` in the user's cache folder (`$XDG_CACHE_HOME` or `~/.cache`), which may not exist yet;
/// `None` if neither variable is set.
pub fn folder() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")));
    cache.map(|cache| cache.join("qrnn"))
}
