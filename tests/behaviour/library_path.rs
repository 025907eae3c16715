//! Another torch on LD_LIBRARY_PATH: passed over, and said; one that fits is used.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, command};

const LIBRARIES: [&str; 2] = ["libtorch_cpu.so", "libc10.so"];

/// Where this test, and the program with it, has libtorch.
fn own_libtorch() -> PathBuf {
    libtorch_of("self").expect("tests are linked with libtorch")
}

/// The folder that a process has mapped libtorch from.
fn libtorch_of(process: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    Some(Path::new(&line[line.find('/')?..]).parent()?.into())
}

fn with_path(args: &[&str], path: &Path) -> Command {
    on_path(command(args), path)
}

fn on_path(mut command: Command, path: &Path) -> Command {
    command.env("LD_LIBRARY_PATH", path).env("QRNN_CUDA", "off");
    command
}

/// `--help`, `count` and a step of training all work; what training said.
fn works(path: &Path) -> String {
    for args in [&["--help"][..], &["count"]] {
        let ran = Ran::from(with_path(args, path).output().unwrap());
        ran.succeeds();
        assert_eq!(ran.stderr, "", "{args:?}");
        assert!(!ran.stdout.is_empty());
    }
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let ran = Ran::from(training(data.path(), out.path(), "1", path).output().unwrap());
    ran.succeeds();
    ran.stderr
}

fn training(data: &Path, out: &Path, steps: &str, path: &Path) -> Command {
    let out = out.join("run");
    let mut args = vec!["train", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
    args.extend(["--emsize", "8", "--nhid", "8", "--nlayers", "1", "--bptt", "5"]);
    args.extend(["--batch-size", "2", "--splits", "none", "--steps", steps]);
    with_path(&args, path)
}

/// A folder `torch/lib` with such files, and the version beside it.
fn torch(content: &[u8], version: Option<&str>) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let lib = root.path().join("torch/lib");
    fs::create_dir_all(&lib).unwrap();
    for name in LIBRARIES {
        fs::write(lib.join(name), content).unwrap();
    }
    if let Some(version) = version {
        fs::write(lib.with_file_name("version.py"), format!("__version__ = '{version}'\n"))
            .unwrap();
    }
    (root, lib)
}

/// A shared library without a symbol in it: the smallest that the loader takes.
fn without_symbols() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("none.c"), folder.path().join("none.so"));
    fs::write(&source, "").unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    assert!(compiler.status().unwrap().success());
    fs::read(library).unwrap()
}

#[test]
fn a_torch_that_does_not_fit_is_passed_over_by_name() {
    let own = own_libtorch();
    let beginning = fs::read(own.join("libc10.so")).unwrap()[..5000].to_vec();
    let bits_32 = [b"\x7fELF\x01\x01\x01".to_vec(), vec![0; 5000]].concat();
    for (content, version, says) in [
        (without_symbols(), None, "cannot be loaded"),
        (beginning, None, "cannot be loaded"),
        (bits_32, None, "cannot be loaded"),
        // Its version is said to fit, and half of it is there.
        (b"\x7fELF".to_vec(), Some("2.11.0+cpu"), "cannot be loaded"),
        (without_symbols(), Some("2.10.0+cpu"), "is torch 2.10.0+cpu"),
    ] {
        let (_root, lib) = torch(&content, version);
        let said = works(&lib);
        let note = said.lines().find(|line| line.starts_with("note: LD_LIBRARY_PATH")).unwrap();
        for words in [says, lib.to_str().unwrap(), "2.11.0", own.to_str().unwrap()] {
            assert!(note.contains(words), "{version:?}: {note}");
        }
        assert!(!said.contains("ld.so"), "{said}");
    }
}

#[test]
fn a_torch_of_another_version_is_passed_over_though_it_could_be_loaded() {
    let root = tempfile::tempdir().unwrap();
    let lib = root.path().join("torch/lib");
    fs::create_dir_all(&lib).unwrap();
    for entry in fs::read_dir(own_libtorch()).unwrap() {
        let entry = entry.unwrap();
        symlink(entry.path(), lib.join(entry.file_name())).unwrap();
    }
    // Another file than our own, with nothing else in it.
    fs::remove_file(lib.join(LIBRARIES[0])).unwrap();
    fs::write(lib.join(LIBRARIES[0]), without_symbols()).unwrap();
    fs::write(lib.with_file_name("version.py"), "__version__ = '2.12.0'\n").unwrap();
    assert!(works(&lib).contains("is torch 2.12.0; this program needs torch 2.11.0"));
}

#[test]
fn other_libraries_on_the_path_are_no_hindrance() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("libgomp.so.1"), "").unwrap();
    assert!(!works(root.path()).contains("LD_LIBRARY_PATH"));
    // The program's own torch is no other one.
    assert!(!works(&own_libtorch()).contains("LD_LIBRARY_PATH"));
}

#[test]
fn a_torch_that_fits_is_used_and_no_other() {
    // A copy, as a machine's own torch is: half a gigabyte.
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lib = root.path().join("torch/lib");
    fs::create_dir_all(&lib).unwrap();
    for entry in fs::read_dir(own_libtorch()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), lib.join(entry.file_name())).unwrap();
    }
    fs::write(lib.with_file_name("version.py"), "__version__ = '2.11.0+cpu'\n").unwrap();
    let (_other, other) = torch(&without_symbols(), Some("2.10.0"));
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let path = std::env::join_paths([&other, &lib]).unwrap();
    let mut command = training(data.path(), out.path(), "100000000", Path::new(&path));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (started, id) = (Instant::now(), child.id().to_string());
    // The process starts with the program's own, and then anew.
    while libtorch_of(&id).as_deref() != Some(lib.as_path()) {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", libtorch_of(&id));
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).unwrap();
    let own = own_libtorch();
    assert!(!maps.contains(own.to_str().unwrap()), "two torches at once");
    child.kill().unwrap();
    let said = child.wait_with_output().unwrap().stderr;
    assert!(!String::from_utf8_lossy(&said).contains("note: LD_LIBRARY_PATH"));
}

/// A copy of the program in which the place of its own libtorch is another, where there is none.
fn carried(folder: &Path) -> PathBuf {
    let built = command(&[]).get_program().to_owned();
    let listed = Command::new("readelf").arg("-d").arg(&built).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let (_, rest) = listed.split_once("Library rpath: [").expect("the program has a DT_RPATH");
    let rpath = rest.split(']').next().unwrap().as_bytes();
    let mut bytes = fs::read(&built).unwrap();
    let mut places = 0;
    for at in 0..bytes.len() - rpath.len() {
        if bytes[at..].starts_with(rpath) && bytes[at + rpath.len()] == 0 {
            bytes[at + 1..at + rpath.len()].fill(b'-');
            places += 1;
        }
    }
    assert!(places > 0, "{rpath:?} is not in the program");
    let program = folder.join("reproduce");
    fs::write(&program, bytes).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// There the loader goes by the variable alone, and another version may be what it finds first.
#[test]
fn a_carried_program_does_not_stay_with_a_torch_of_another_version() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = carried(root.path());
    let other = root.path().join("torch/lib");
    fs::create_dir_all(&other).unwrap();
    // Another file than our own, and one that can be loaded: half a gigabyte.
    for entry in fs::read_dir(own_libtorch()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), other.join(entry.file_name())).unwrap();
    }
    fs::write(other.with_file_name("version.py"), "__version__ = '2.11.1'\n").unwrap();
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let own = own_libtorch();
    let both = std::env::join_paths([&other, &own]).unwrap();
    let train = |path: &Path, steps| {
        let built = training(data.path(), out.path(), steps, path);
        let mut command = Command::new(&program);
        command.args(built.get_args()).env("OMP_NUM_THREADS", "1").stdin(Stdio::null());
        on_path(command, path)
    };

    let alone = Ran::from(train(&other, "1").output().unwrap());
    alone.succeeds();
    let note = alone.stderr.lines().find(|line| line.starts_with("note: LD_LIBRARY_PATH")).unwrap();
    assert!(note.contains("is torch 2.11.1; this program needs torch 2.11.0"), "{note}");
    assert!(note.contains("has no other"), "{note}");

    fs::remove_dir_all(out.path().join("run")).unwrap();
    let mut command = train(Path::new(&both), "100000000");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (started, id) = (Instant::now(), child.id().to_string());
    while libtorch_of(&id).as_deref() != Some(own.as_path()) {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", libtorch_of(&id));
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
