//! Uses a libtorch from LD_LIBRARY_PATH instead of the one that the program was built with, for example
//! the CUDA build of a machine with a GPU.
//!
//! A libtorch that does not fit must not keep the program from starting. DT_RPATH therefore names the
//! program's own libtorch, and the loader searches it first (build.rs). Before any code of libtorch
//! runs, this module searches LD_LIBRARY_PATH. It skips other versions, tests in a child process whether
//! the loader can bind the program to the libraries, and if so executes the program again with them in
//! LD_PRELOAD, which precedes DT_RPATH.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString, c_char};
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use qrnn_ops::libtorch::search_path::{self, Brought};

/// Environment variable for processes that this one starts. Its value is `trial=` and the path of the
/// library to test, or `chosen`, followed by `=` and the user's LD_PRELOAD if that was set.
const STAGE: &str = "QRNN_BROUGHT_TORCH";
const TRIAL: &str = "trial=";
const CHOSEN: &str = "chosen";
const PRELOAD: &str = "LD_PRELOAD";

/// Libraries of libtorch that the program links directly. All must come from the same folder.
const LINKED: [&str; 3] = ["libgomp.so.1", "libc10.so", "libtorch_cpu.so"];

/// Purpose of this process.
pub enum Stage {
    /// Started by the user: LD_LIBRARY_PATH was not searched yet.
    First,
    /// Child that only tests whether the loader binds the given libraries; `true` if it did. (The loader
    /// ignores a library in LD_PRELOAD that it cannot load, so this is checked.)
    Trial(bool),
    /// Executed again with the chosen libraries.
    Chosen,
}

/// The environment as the loader passes it, before the C library reads it.
pub struct Environment(*mut *const c_char);

impl Environment {
    /// # Safety
    /// `list` must be the environment that the loader passed, and nothing else may access it while this
    /// value lives.
    pub unsafe fn new(list: *mut *const c_char) -> Self {
        Self(list)
    }

    fn all(&self) -> Vec<(OsString, OsString)> {
        let mut all = vec![];
        let mut at = self.0;
        // SAFETY: C strings up to a null pointer, by the contract of `new`.
        while !unsafe { *at }.is_null() {
            // SAFETY: as above.
            let entry = unsafe { CStr::from_ptr(*at) }.to_bytes();
            if let Some(sign) = entry.iter().position(|&byte| byte == b'=') {
                let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
                all.push((text(&entry[..sign]), text(&entry[sign + 1..])));
            }
            // SAFETY: the entry was not null, so the next one is within the list.
            at = unsafe { at.add(1) };
        }
        all
    }

    fn get(&self, name: &str) -> Option<OsString> {
        self.all().into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// Sets the variable to a value, which is leaked, or removes it.
    fn set(&mut self, name: &str, value: Option<&OsStr>) {
        let (mut from, mut to) = (self.0, self.0);
        let replaced = value.map(|value| {
            let mut entry = name.as_bytes().to_vec();
            entry.push(b'=');
            entry.extend(value.as_bytes());
            entry.push(0);
            entry.leak().as_ptr().cast::<c_char>()
        });
        // SAFETY: entries are replaced or removed in place; the list stays terminated by a null pointer.
        unsafe {
            while !(*from).is_null() {
                let entry = CStr::from_ptr(*from).to_bytes();
                let matches =
                    entry.strip_prefix(name.as_bytes()).is_some_and(|e| e.starts_with(b"="));
                let entry = if matches { replaced } else { Some(*from) };
                if let Some(entry) = entry {
                    *to = entry;
                    to = to.add(1);
                }
                from = from.add(1);
            }
            *to = std::ptr::null();
        }
    }
}

/// Reads the purpose of this process, and restores the user's environment.
pub fn stage(environment: &mut Environment) -> Stage {
    let Some(stage) = environment.get(STAGE) else { return Stage::First };
    environment.set(STAGE, None);
    if let Some(library) = stage.as_bytes().strip_prefix(TRIAL.as_bytes()) {
        let library = Path::new(OsStr::from_bytes(library));
        return Stage::Trial(loaded().is_some_and(|loaded| is_same_file(&loaded, library)));
    }
    let user_preload =
        stage.as_bytes().strip_prefix(CHOSEN.as_bytes()).and_then(|b| b.strip_prefix(b"="));
    environment.set(PRELOAD, user_preload.map(OsStr::from_bytes));
    Stage::Chosen
}

/// Executes the program again if LD_LIBRARY_PATH holds a libtorch that fits and is not loaded already.
/// Otherwise returns, after a note on standard error for each libtorch that was skipped.
pub fn restart_with_torch_on_path(arguments: &[OsString], environment: &Environment) {
    let Some(search) = environment.get("LD_LIBRARY_PATH") else { return };
    let candidates = search_path::on_path(&search);
    let Some(loaded) = candidates.first().and_then(|_| loaded()) else { return };
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    let preload = environment.get(PRELOAD);
    let variables: HashMap<OsString, OsString> = environment.all().into_iter().collect();
    let (mut skipped, mut no_other) = (vec![], false);
    for torch in candidates {
        // If the program's own libtorch is missing, the loader has bound the first on the path, of any
        // version.
        let in_use = is_same_file(&torch.library(), &loaded);
        if in_use && !torch.is_other() {
            return;
        }
        no_other |= in_use;
        let reason = if torch.is_other() {
            format!("is torch {}", torch.version.as_deref().unwrap_or_default())
        } else {
            match preload_list(&torch, preload.as_deref()) {
                None => "has a blank or a colon in its path".to_owned(),
                Some(libraries) => {
                    let mut command = Command::new(&program);
                    if let Some((name, rest)) = arguments.split_first() {
                        command.arg0(name).args(rest);
                    }
                    command.env_clear().envs(&variables).env(PRELOAD, &libraries);
                    if can_be_loaded(&program, &variables, &libraries, &torch) {
                        let mut stage = OsString::from(CHOSEN);
                        if let Some(user_preload) = &preload {
                            stage.push("=");
                            stage.push(user_preload);
                        }
                        command.env(STAGE, stage);
                        // `exec` returns only if it fails.
                        format!("cannot be used: {}", command.exec())
                    } else {
                        "cannot be loaded by this program".to_owned()
                    }
                }
            }
        };
        skipped.push(format!("{} {reason}", torch.folder.display()));
    }
    let folder = loaded.parent().unwrap_or(Path::new("")).display();
    let consequence = if no_other {
        format!("has no other than that in {folder}: it may fail or compute wrong results")
    } else {
        format!("uses the one in {folder}")
    };
    let _ = writeln!(
        std::io::stderr(),
        "note: LD_LIBRARY_PATH: {}; this program needs torch {} and {consequence}",
        skipped.join(", "),
        search_path::VERSION,
    );
}

/// A value of LD_PRELOAD with the libraries of this torch before those in `preload`. `None` if the path
/// has a blank or a colon, which separate entries of the variable.
fn preload_list(torch: &Brought, preload: Option<&OsStr>) -> Option<OsString> {
    let folder = std::path::absolute(&torch.folder).ok()?;
    if folder.as_os_str().as_bytes().iter().any(|byte| b" :".contains(byte)) {
        return None;
    }
    let paths = LINKED.iter().map(|name| folder.join(name)).filter(|path| path.exists());
    let paths = paths.map(PathBuf::into_os_string);
    let all: Vec<OsString> = paths.chain(preload.map(OsStr::to_owned)).collect();
    Some(all.join(OsStr::new(":")))
}

/// Whether the loader can bind this program to these libraries.
fn can_be_loaded(
    program: &Path,
    variables: &HashMap<OsString, OsString>,
    libraries: &OsStr,
    torch: &Brought,
) -> bool {
    let mut stage = OsString::from(TRIAL);
    stage.push(torch.library());
    let mut trial = Command::new(program);
    trial.env_clear().envs(variables).env(PRELOAD, libraries).env(STAGE, stage);
    trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    trial.status().is_ok_and(|status| status.success())
}

/// Path of the libtorch that the loader has mapped into this process.
fn loaded() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let path = PathBuf::from(&line[line.find('/')?..]);
        (path.file_name()? == "libtorch_cpu.so").then_some(path)
    })
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
