//! CUDA_HOME of a peer. torch compiles a kernel at run time only where that is known, though all that it
//! then wants of the folder is that it exists.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder: the one that the environment names or torch would find by itself, else `instead`.
pub fn cuda_home(instead: &Path) -> PathBuf {
    find(["CUDA_HOME", "CUDA_PATH", "PATH"].map(std::env::var_os), instead)
}

fn find([home, path, programs]: [Option<OsString>; 3], instead: &Path) -> PathBuf {
    let programs = programs.unwrap_or_default();
    let compiler = std::env::split_paths(&programs).map(|folder| folder.join("nvcc"));
    let with_compiler = compiler.filter(|nvcc| nvcc.is_file()).filter_map(|nvcc| {
        // The folder above bin, in which the compiler itself lies.
        nvcc.canonicalize().ok()?.parent()?.parent().map(Path::to_owned)
    });
    let named = [home, path].into_iter().flatten().map(PathBuf::from);
    let mut all = named.chain(with_compiler).chain([PathBuf::from("/usr/local/cuda")]);
    all.find(|folder| folder.is_dir()).unwrap_or_else(|| instead.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_existing_folder_whatever_the_environment_says() {
        let folder = tempfile::tempdir().unwrap();
        let (instead, toolkit) = (folder.path().join("instead"), folder.path().join("toolkit"));
        std::fs::create_dir_all(toolkit.join("bin")).unwrap();
        std::fs::create_dir(&instead).unwrap();
        std::fs::write(toolkit.join("bin/nvcc"), "").unwrap();
        let named = |path: &Path| Some(path.as_os_str().to_owned());
        let gone = named(&folder.path().join("gone"));
        assert_eq!(find([named(&toolkit), None, None], &instead), toolkit);
        assert_eq!(find([gone.clone(), named(&toolkit), None], &instead), toolkit);
        let programs = named(&toolkit.join("bin"));
        let found = find([gone.clone(), None, programs], &instead);
        assert_eq!(found, toolkit.canonicalize().unwrap());
        // Torch itself looks there last.
        let system = Path::new("/usr/local/cuda");
        let expected = if system.is_dir() { system } else { &instead };
        assert_eq!(find([None, None, None], &instead), expected);
        assert_eq!(find([gone, None, None], &instead), expected);
    }
}
