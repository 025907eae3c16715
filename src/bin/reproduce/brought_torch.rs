//! A torch on LD_LIBRARY_PATH, in the place of the one that the program was built with: how a machine
//! with a GPU brings its own.
//!
//! The loader would take whatever lies there, and where that does not fit, no program starts. So the
//! program names its own libtorch in DT_RPATH, which comes first (build.rs), and looks at the
//! variable by itself, before any of libtorch's code runs. What is of another version is passed over.
//! Else a child tries whether the loader can bind the program to it, and then the program starts
//! anew with those libraries in LD_PRELOAD, which comes before all.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString, c_char};
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use qrnn_ops::libtorch::search_path::{self, Brought};

/// Tells a process that was started by this one what it is for: `trial=` and the library that it is
/// to be bound to, or `chosen`, and `=` and the user's own LD_PRELOAD where there was one.
const STAGE: &str = "QRNN_BROUGHT_TORCH";
const TRIAL: &str = "trial=";
const CHOSEN: &str = "chosen";
const PRELOAD: &str = "LD_PRELOAD";

/// The libraries of libtorch's that the program itself names; those of a folder belong together.
const NAMED: [&str; 3] = ["libgomp.so.1", "libc10.so", "libtorch_cpu.so"];

/// What this process is for.
pub enum Stage {
    /// Nobody has looked at the variable yet.
    First,
    /// To end as soon as the loader has bound it; whether to the libraries that were meant. (A library
    /// in LD_PRELOAD that cannot be loaded is no error of the loader's.)
    Trial(bool),
    /// To run with what was chosen.
    Chosen,
}

/// The list of variables that the process was started with. The C library makes it its own later.
pub struct Environment(*mut *const c_char);

impl Environment {
    /// # Safety
    /// `list` is the list that the loader passes, and nobody else uses it meanwhile.
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
            // SAFETY: not behind the null pointer.
            at = unsafe { at.add(1) };
        }
        all
    }

    fn get(&self, name: &str) -> Option<OsString> {
        self.all().into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// Gives the variable another value, which lives as long as the process, or removes it.
    fn set(&mut self, name: &str, value: Option<&OsStr>) {
        let (mut from, mut to) = (self.0, self.0);
        let replaced = value.map(|value| {
            let mut entry = name.as_bytes().to_vec();
            entry.push(b'=');
            entry.extend(value.as_bytes());
            entry.push(0);
            entry.leak().as_ptr().cast::<c_char>()
        });
        // SAFETY: the list is shortened in place, or an entry of it replaced; it ends with a null
        // pointer before and after.
        unsafe {
            while !(*from).is_null() {
                let entry = CStr::from_ptr(*from).to_bytes();
                let named =
                    entry.strip_prefix(name.as_bytes()).is_some_and(|e| e.starts_with(b"="));
                let kept = if named { replaced } else { Some(*from) };
                if let Some(kept) = kept {
                    *to = kept;
                    to = to.add(1);
                }
                from = from.add(1);
            }
            *to = std::ptr::null();
        }
    }
}

/// What this process is for; its environment is then what the user's was.
pub fn stage(environment: &mut Environment) -> Stage {
    let Some(stage) = environment.get(STAGE) else { return Stage::First };
    environment.set(STAGE, None);
    if let Some(library) = stage.as_bytes().strip_prefix(TRIAL.as_bytes()) {
        let library = Path::new(OsStr::from_bytes(library));
        return Stage::Trial(loaded().is_some_and(|loaded| is_same(&loaded, library)));
    }
    let before =
        stage.as_bytes().strip_prefix(CHOSEN.as_bytes()).and_then(|b| b.strip_prefix(b"="));
    environment.set(PRELOAD, before.map(OsStr::from_bytes));
    Stage::Chosen
}

/// Starts the program anew where a torch on LD_LIBRARY_PATH fits and is not the one that is loaded;
/// else returns, and has said why where there is one.
pub fn choose(arguments: &[OsString], environment: &Environment) {
    let Some(search) = environment.get("LD_LIBRARY_PATH") else { return };
    let found = search_path::on_path(&search);
    let Some(loaded) = found.first().and_then(|_| loaded()) else { return };
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    let preload = environment.get(PRELOAD);
    let variables: HashMap<OsString, OsString> = environment.all().into_iter().collect();
    let (mut why, mut no_other) = (vec![], false);
    for torch in found {
        // Where the program's own is not there, the loader has taken what comes first, of whatever
        // version.
        let in_use = is_same(&torch.library(), &loaded);
        if in_use && !torch.is_other() {
            return;
        }
        no_other |= in_use;
        let reason = if torch.is_other() {
            format!("is torch {}", torch.version.as_deref().unwrap_or_default())
        } else {
            match with(&torch, preload.as_deref()) {
                None => "has a blank or a colon in its path".to_owned(),
                Some(libraries) => {
                    let mut command = Command::new(&program);
                    if let Some((name, rest)) = arguments.split_first() {
                        command.arg0(name).args(rest);
                    }
                    command.env_clear().envs(&variables).env(PRELOAD, &libraries);
                    if fits(&program, &variables, &libraries, &torch) {
                        let mut stage = OsString::from(CHOSEN);
                        if let Some(before) = &preload {
                            stage.push("=");
                            stage.push(before);
                        }
                        command.env(STAGE, stage);
                        // Returns only where it fails.
                        format!("cannot be used: {}", command.exec())
                    } else {
                        "cannot be loaded by this program".to_owned()
                    }
                }
            }
        };
        why.push(format!("{} {reason}", torch.folder.display()));
    }
    let own = loaded.parent().unwrap_or(Path::new("")).display();
    let taken = if no_other {
        format!("has no other than that in {own}: it may fail or compute wrongly")
    } else {
        format!("takes the one in {own}")
    };
    let _ = writeln!(
        std::io::stderr(),
        "note: LD_LIBRARY_PATH: {}; this program needs torch {} and {taken}",
        why.join(", "),
        search_path::VERSION,
    );
}

/// The libraries of this torch for LD_PRELOAD, before what is in it; the variable cannot hold every
/// path.
fn with(torch: &Brought, preload: Option<&OsStr>) -> Option<OsString> {
    let folder = std::path::absolute(&torch.folder).ok()?;
    if folder.as_os_str().as_bytes().iter().any(|byte| b" :".contains(byte)) {
        return None;
    }
    let paths = NAMED.iter().map(|name| folder.join(name)).filter(|path| path.exists());
    let paths = paths.map(PathBuf::into_os_string);
    let all: Vec<OsString> = paths.chain(preload.map(OsStr::to_owned)).collect();
    Some(all.join(OsStr::new(":")))
}

/// Whether the loader can bind this program to these libraries.
fn fits(
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

/// The libtorch that the loader has mapped for this process.
fn loaded() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let path = PathBuf::from(&line[line.find('/')?..]);
        (path.file_name()? == "libtorch_cpu.so").then_some(path)
    })
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
