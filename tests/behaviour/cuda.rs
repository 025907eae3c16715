//! What a user hears of CUDA where it is not to be had. A driver that lies stands in for each kind of
//! machine: a library named libcuda.so.1, which the program finds before any other.

use std::path::Path;
use std::process::Command;

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, command};

/// Compiles a driver that finds `cards` cards of a compute capability and speaks this CUDA version.
fn driver(folder: &Path, version: u32, cards: u32, (major, minor): (u32, u32)) {
    let source = folder.join("driver.cpp");
    let text = format!(
        "extern \"C\" int cuInit(unsigned) {{ return {cards} ? 0 : 100; }}
        extern \"C\" int cuDriverGetVersion(int* version) {{ *version = {version}; return 0; }}
        extern \"C\" int cuDeviceGetCount(int* count) {{ *count = {cards}; return 0; }}
        extern \"C\" int cuDeviceGet(int* device, int ordinal) {{ *device = ordinal; return 0; }}
        extern \"C\" int cuDeviceGetAttribute(int* value, int attribute, int) {{
          *value = attribute == 75 ? {major} : {minor};
          return 0;
        }}"
    );
    std::fs::write(&source, text).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut words = compiler.split_whitespace();
    let mut compile = Command::new(words.next().unwrap());
    compile.args(words).args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]);
    let status = compile.arg(folder.join("libcuda.so.1")).arg(&source).status().unwrap();
    assert!(status.success());
    std::fs::copy(folder.join("libcuda.so.1"), folder.join("libcuda.so")).unwrap();
}

/// Trains a step with this driver.
fn train(driver: Option<&Path>, device: &str) -> Ran {
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let (data, out) = (data.path().to_str().unwrap(), out.path().join("run"));
    let mut args = vec!["train", "--data", data, "--out", out.to_str().unwrap(), "--steps", "1"];
    args.extend(["--emsize", "8", "--nhid", "8", "--nlayers", "1", "--bptt", "5"]);
    args.extend(["--batch-size", "2", "--splits", "none", "--device", device]);
    let mut command = command(&args);
    match driver {
        Some(folder) => command.env("LD_LIBRARY_PATH", folder),
        None => command.env("QRNN_CUDA", "off"),
    };
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(out.join("model.safetensors").exists(), ran.status == Some(0));
    ran
}

#[test]
fn each_thing_that_is_missing_is_named_with_what_to_do() {
    let machines = [
        ((13000, 0, (0, 0)), &["the NVIDIA driver finds no GPU", "nvidia-smi"]),
        ((12040, 1, (9, 0)), &["speaks CUDA 12.4", "580"]),
        ((13000, 1, (7, 0)), &["compute capability 7.0", "Turing"]),
    ];
    for ((version, cards, capability), says) in machines {
        let folder = tempfile::tempdir().unwrap();
        driver(folder.path(), version, cards, capability);
        let ran = train(Some(folder.path()), "cuda");
        assert_eq!(ran.status, Some(2), "{}", ran.stderr);
        for words in ["--device cuda is not available", "what to do", says[0], says[1]] {
            assert!(ran.stderr.contains(words), "{words} is not in {}", ran.stderr);
        }
        // Left to the program, the same machine computes on the CPU, and says why in one line.
        let ran = train(Some(folder.path()), "auto");
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        let why = ran.stderr.lines().find(|line| line.starts_with("computing on the CPU: "));
        assert!(why.is_some_and(|why| why.contains(says[0])), "{}", ran.stderr);
    }
}

#[test]
fn a_good_card_without_libtorchs_part_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    driver(folder.path(), 13000, 1, (9, 0));
    let ran = train(Some(folder.path()), "cuda");
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    // Where set-up brought that part, libtorch itself sees through the driver.
    let missing = ran.stderr.contains("libtorch's CUDA part cannot be loaded")
        && ran.stderr.contains("cargo xtask setup --cuda");
    let disbelieved = ran.stderr.contains("but libtorch finds none");
    assert!(missing || disbelieved, "{}", ran.stderr);
}

#[test]
fn the_cpu_that_was_asked_for_needs_no_reason() {
    let ran = train(None, "cpu");
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("computing on the CPU"), "{}", ran.stderr);
    let ran = train(None, "auto");
    assert!(ran.stderr.contains("computing on the CPU: it is switched off"), "{}", ran.stderr);
}
