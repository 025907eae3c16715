//! Messages if CUDA is not available. A fake driver, a libcuda.so.1 that the program finds first, simulates
//! each kind of machine.

use std::path::Path;
use std::process::Command;

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, command};

/// Compiles a fake driver of a CUDA version that reports `gpus` GPUs of a compute capability.
fn build_driver(folder: &Path, version: u32, gpus: u32, (major, minor): (u32, u32)) {
    let source = folder.join("driver.cpp");
    let text = format!(
        "extern \"C\" int cuInit(unsigned) {{ return {gpus} ? 0 : 100; }}
        extern \"C\" int cuDriverGetVersion(int* version) {{ *version = {version}; return 0; }}
        extern \"C\" int cuDeviceGetCount(int* count) {{ *count = {gpus}; return 0; }}
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

/// Runs one training step with this driver, or with CUDA switched off.
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
fn unusable_machines_are_reported_with_a_remedy() {
    let machines = [
        ((13000, 0, (0, 0)), &["the NVIDIA driver finds no GPU", "nvidia-smi"]),
        ((12040, 1, (9, 0)), &["speaks CUDA 12.4", "580"]),
        ((13000, 1, (7, 0)), &["compute capability 7.0", "Turing"]),
    ];
    for ((version, gpus, capability), messages) in machines {
        let folder = tempfile::tempdir().unwrap();
        build_driver(folder.path(), version, gpus, capability);
        let ran = train(Some(folder.path()), "cuda");
        assert_eq!(ran.status, Some(2), "{}", ran.stderr);
        for text in ["--device cuda is not available", "what to do", messages[0], messages[1]] {
            assert!(ran.stderr.contains(text), "{text} is not in {}", ran.stderr);
        }
        // With --device auto, the same machine uses the CPU and prints the reason in one line.
        let ran = train(Some(folder.path()), "auto");
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        let note = ran.stderr.lines().find(|line| line.starts_with("computing on the CPU: "));
        assert!(note.is_some_and(|note| note.contains(messages[0])), "{}", ran.stderr);
    }
}

#[test]
fn a_gpu_without_the_cuda_part_of_libtorch_is_reported_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    build_driver(folder.path(), 13000, 1, (9, 0));
    let ran = train(Some(folder.path()), "cuda");
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    // If the CUDA part is installed, libtorch itself does not accept the fake driver.
    let missing = ran.stderr.contains("libtorch's CUDA part cannot be loaded")
        && ran.stderr.contains("cargo xtask setup --cuda");
    let rejected = ran.stderr.contains("but libtorch finds none");
    assert!(missing || rejected, "{}", ran.stderr);
}

#[test]
fn device_cpu_prints_no_reason() {
    let ran = train(None, "cpu");
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("computing on the CPU"), "{}", ran.stderr);
    let ran = train(None, "auto");
    assert!(ran.stderr.contains("computing on the CPU: it is switched off"), "{}", ran.stderr);
}
