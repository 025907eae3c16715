//! CUDA_HOME of a baseline. torch compiles kernels at run time only if it is set to an existing folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder that the environment names or torch would find, otherwise `fallback`.
pub fn cuda_home(fallback: &Path) -> PathBuf {
    find(["CUDA_HOME", "CUDA_PATH", "PATH"].map(std::env::var_os), fallback)
}

fn find([home, path, programs]: [Option<OsString>; 3], fallback: &Path) -> PathBuf {
    let programs = programs.unwrap_or_default();
    let compiler = std::env::split_paths(&programs).map(|folder| folder.join("nvcc"));
    let with_compiler = compiler.filter(|nvcc| nvcc.is_file()).filter_map(|nvcc| {
        // The parent of the compiler's bin folder.
        nvcc.canonicalize().ok()?.parent()?.parent().map(Path::to_owned)
    });
    let named = [home, path].into_iter().flatten().map(PathBuf::from);
    let mut all = named.chain(with_compiler).chain([PathBuf::from("/usr/local/cuda")]);
    all.find(|folder| folder.is_dir()).unwrap_or_else(|| fallback.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_home_is_an_existing_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (fallback, toolkit) = (folder.path().join("fallback"), folder.path().join("toolkit"));
        std::fs::create_dir_all(toolkit.join("bin")).unwrap();
        std::fs::create_dir(&fallback).unwrap();
        std::fs::write(toolkit.join("bin/nvcc"), "").unwrap();
        let named = |path: &Path| Some(path.as_os_str().to_owned());
        let missing = named(&folder.path().join("missing"));
        assert_eq!(find([named(&toolkit), None, None], &fallback), toolkit);
        assert_eq!(find([missing.clone(), named(&toolkit), None], &fallback), toolkit);
        let programs = named(&toolkit.join("bin"));
        let found = find([missing.clone(), None, programs], &fallback);
        assert_eq!(found, toolkit.canonicalize().unwrap());
        // torch tries this folder last.
        let system = Path::new("/usr/local/cuda");
        let expected = if system.is_dir() { system } else { &fallback };
        assert_eq!(find([None, None, None], &fallback), expected);
        assert_eq!(find([missing, None, None], &fallback), expected);
    }
}
