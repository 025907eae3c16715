//! A libtorch on LD_LIBRARY_PATH: used if it fits, otherwise skipped with a note.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, command};

const LIBRARIES: [&str; 2] = ["libtorch_cpu.so", "libc10.so"];

/// Folder of the libtorch of this test and of the program.
fn own_libtorch() -> PathBuf {
    libtorch_of("self").expect("tests are linked with libtorch")
}

/// Folder of the libtorch that a process has mapped.
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

/// Checks that `--help`, `count` and a training step work, and returns the standard error of training.
fn run_with_path(path: &Path) -> String {
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

/// A folder `torch/lib` with libraries of this content, and a version.py in `torch`.
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

/// A shared library without symbols, the smallest that the loader accepts.
fn empty_library() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("none.c"), folder.path().join("none.so"));
    fs::write(&source, "").unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    assert!(compiler.status().unwrap().success());
    fs::read(library).unwrap()
}

#[test]
fn a_torch_that_cannot_be_loaded_is_skipped_with_a_note() {
    let own = own_libtorch();
    let truncated = fs::read(own.join("libc10.so")).unwrap()[..5000].to_vec();
    let bits_32 = [b"\x7fELF\x01\x01\x01".to_vec(), vec![0; 5000]].concat();
    for (content, version, reason) in [
        (empty_library(), None, "cannot be loaded"),
        (truncated, None, "cannot be loaded"),
        (bits_32, None, "cannot be loaded"),
        // The version fits, but the library is truncated.
        (b"\x7fELF".to_vec(), Some("2.11.0+cpu"), "cannot be loaded"),
        (empty_library(), Some("2.10.0+cpu"), "is torch 2.10.0+cpu"),
    ] {
        let (_root, lib) = torch(&content, version);
        let stderr = run_with_path(&lib);
        let note = stderr.lines().find(|line| line.starts_with("note: LD_LIBRARY_PATH")).unwrap();
        for text in [reason, lib.to_str().unwrap(), "2.11.0", own.to_str().unwrap()] {
            assert!(note.contains(text), "{version:?}: {note}");
        }
        assert!(!stderr.contains("ld.so"), "{stderr}");
    }
}

#[test]
fn a_loadable_torch_of_another_version_is_skipped_with_a_note() {
    let root = tempfile::tempdir().unwrap();
    let lib = root.path().join("torch/lib");
    fs::create_dir_all(&lib).unwrap();
    for entry in fs::read_dir(own_libtorch()).unwrap() {
        let entry = entry.unwrap();
        symlink(entry.path(), lib.join(entry.file_name())).unwrap();
    }
    // A different file than the program's own.
    fs::remove_file(lib.join(LIBRARIES[0])).unwrap();
    fs::write(lib.join(LIBRARIES[0]), empty_library()).unwrap();
    fs::write(lib.with_file_name("version.py"), "__version__ = '2.12.0'\n").unwrap();
    assert!(run_with_path(&lib).contains("is torch 2.12.0; this program needs torch 2.11.0"));
}

#[test]
fn other_libraries_on_the_path_are_ignored() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("libgomp.so.1"), "").unwrap();
    assert!(!run_with_path(root.path()).contains("LD_LIBRARY_PATH"));
    // The program's own libtorch on the path is not a second one.
    assert!(!run_with_path(&own_libtorch()).contains("LD_LIBRARY_PATH"));
}

#[test]
fn a_torch_that_fits_is_used_instead_of_the_own_one() {
    // A copy (half a gigabyte), so that it is a different file.
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lib = root.path().join("torch/lib");
    fs::create_dir_all(&lib).unwrap();
    for entry in fs::read_dir(own_libtorch()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), lib.join(entry.file_name())).unwrap();
    }
    fs::write(lib.with_file_name("version.py"), "__version__ = '2.11.0+cpu'\n").unwrap();
    let (_other, other) = torch(&empty_library(), Some("2.10.0"));
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let path = std::env::join_paths([&other, &lib]).unwrap();
    let mut command = training(data.path(), out.path(), "100000000", Path::new(&path));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (started, id) = (Instant::now(), child.id().to_string());
    // The process starts with its own libtorch, and then executes itself again.
    while libtorch_of(&id).as_deref() != Some(lib.as_path()) {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", libtorch_of(&id));
        assert!(child.try_wait().unwrap().is_none(), "the process has exited");
        std::thread::sleep(Duration::from_millis(5));
    }
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).unwrap();
    let own = own_libtorch();
    assert!(!maps.contains(own.to_str().unwrap()), "two torches at once");
    child.kill().unwrap();
    let stderr = child.wait_with_output().unwrap().stderr;
    assert!(!String::from_utf8_lossy(&stderr).contains("note: LD_LIBRARY_PATH"));
}

/// A copy of the program whose DT_RPATH names a folder that does not exist.
fn program_without_rpath(folder: &Path) -> PathBuf {
    let built = command(&[]).get_program().to_owned();
    let dynamic = Command::new("readelf").arg("-d").arg(&built).output().unwrap();
    let dynamic = String::from_utf8(dynamic.stdout).unwrap();
    let (_, rest) = dynamic.split_once("Library rpath: [").expect("the program has a DT_RPATH");
    let rpath = rest.split(']').next().unwrap().as_bytes();
    let mut bytes = fs::read(&built).unwrap();
    let mut replaced = 0;
    for at in 0..bytes.len() - rpath.len() {
        if bytes[at..].starts_with(rpath) && bytes[at + rpath.len()] == 0 {
            bytes[at + 1..at + rpath.len()].fill(b'-');
            replaced += 1;
        }
    }
    assert!(replaced > 0, "{rpath:?} is not in the program");
    let program = folder.join("reproduce");
    fs::write(&program, bytes).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// Without DT_RPATH, the loader uses LD_LIBRARY_PATH, where another version may come first.
#[test]
fn without_rpath_a_torch_of_another_version_is_replaced_by_one_that_fits() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = program_without_rpath(root.path());
    let other = root.path().join("torch/lib");
    fs::create_dir_all(&other).unwrap();
    // A different file than the program's own that can be loaded (half a gigabyte).
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

    let ran = Ran::from(train(&other, "1").output().unwrap());
    ran.succeeds();
    let note = ran.stderr.lines().find(|line| line.starts_with("note: LD_LIBRARY_PATH")).unwrap();
    assert!(note.contains("is torch 2.11.1; this program needs torch 2.11.0"), "{note}");
    assert!(note.contains("has no other"), "{note}");

    fs::remove_dir_all(out.path().join("run")).unwrap();
    let mut command = train(Path::new(&both), "100000000");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (started, id) = (Instant::now(), child.id().to_string());
    while libtorch_of(&id).as_deref() != Some(own.as_path()) {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", libtorch_of(&id));
        assert!(child.try_wait().unwrap().is_none(), "the process has exited");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
