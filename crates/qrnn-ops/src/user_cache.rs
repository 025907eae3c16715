//! Where this user's caches lie.

use std::path::PathBuf;

/// `qrnn` in the user's cache folder, which may not exist yet; `None` where there is no home.
pub fn folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    user.map(|user| user.join("qrnn"))
}
