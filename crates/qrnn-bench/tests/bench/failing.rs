//! Baselines that fail, simulated by shell scripts instead of Python: all other measurements are reported.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::measurements::{all, number};
use crate::program::{Ran, bench, command};

/// Its first argument is baselines.py, its second the folder with peer.json. Every loss is 7, and
/// every step takes 7 s.
const STEADY: &str = r#"
while read -r command; do
  list=$(printf %s "$command" | sed 's/.*"lengths":\(\[[^]]*\]\).*/\1/')
  case $command in
    *hello*) echo '{"torch":"9.9","device":"a script"}' ;;
    *lengths*) echo "{\"losses\":$list,\"step_seconds\":$list,\"seconds\":1.0}" ;;
    *prepare*) echo '{"variants":{"warp":{"words":"scan, warp","failed":"there is no nvcc"},
      "scalar":{"words":"scan, scalar","off":0.25}}}' | tr -d '\n'; echo ;;
    *runs*) echo '{"variants":{"scalar":{"forward":[2.0],"both":[4.0]}}}' ;;
    *) echo '{}' ;;
  esac
done
"#;

/// Answers hello and exits at the next command.
const DIES: &str = r#"
read -r command
echo '{"torch":"9.9","device":"a script"}'
read -r command
echo "Traceback (most recent call last):" >&2
echo "CUDA error: an illegal memory access was encountered" >&2
exit 3
"#;

/// Answers hello and then nothing.
const SILENT: &str = r#"
read -r command
echo '{"torch":"9.9","device":"a script"}'
exec sleep 600
"#;

/// A script with a behavior for each mode: (mode, behavior).
fn script(behaviors: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("python");
    let cases: String = behaviors
        .iter()
        .map(|(mode, behavior)| format!("*'\"mode\":\"{mode}\"'*)\n{behavior}\n;;\n"))
        .collect();
    let text = format!("#!/bin/sh\ncase $(cat \"$2/peer.json\") in\n{cases}esac\n");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

const STEP: &str = "step --models 8-12-split --bptt 7 --batch-size 3 --steps 16 \
                    --types 3000 --splits 200,1000,2000 --formats fp32,bf16 --json --peer-limit 5 --python";

fn step<'a>(python: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut args: Vec<&str> = STEP.split_whitespace().collect();
    args.push(python.to_str().unwrap());
    args.extend(more);
    args
}

/// The measurements of a run that may have ended with status 1, and its errors.
fn measurements(ran: &Ran) -> (Vec<Value>, Value) {
    assert_eq!(ran.stdout.lines().count(), 1, "{}{}", ran.stdout, ran.stderr);
    let mut value: Value = serde_json::from_str(&ran.stdout).unwrap();
    let measurements = serde_json::from_value(value["measurements"].take()).unwrap();
    (measurements, value["errors"].take())
}

#[test]
fn baselines_that_exit_or_do_not_answer_are_left_out_with_their_reasons() {
    let (_folder, python) = script(&[("tf32", DIES), ("tuned", SILENT)]);
    let ran = bench(&step(&python, &["--peers", "tf32,tuned"]));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let (measured, errors) = measurements(&ran);
    assert_eq!(errors, Value::Null);
    let steps = all(&measured, "training step");
    assert_eq!(steps.len(), 2);
    for step in steps {
        assert!(number(step, "seconds") > 0.0);
        let reasons: Vec<_> = step["peers"].as_array().unwrap().iter().collect();
        let reason = |name: &str| {
            let baseline = reasons.iter().find(|baseline| baseline["peer"] == name).unwrap();
            baseline["failed"].as_str().unwrap()
        };
        assert!(reason("tf32").contains("exit status: 3: CUDA error: an illegal memory access"));
        assert!(reason("tuned").contains("no answer within 5 s"), "{}", reason("tuned"));
    }
    assert!(ran.stderr.contains("left out: no answer within 5 s"), "{}", ran.stderr);
}

/// The published step's losses are wrong here, and all of ours differ from them.
#[test]
fn a_different_loss_is_reported_and_the_benchmark_continues() {
    let behaviors = [("published", STEADY), ("tf32", DIES), ("tuned", STEADY)];
    let (_folder, python) = script(&behaviors);
    let ran = bench(&step(&python, &["--peers", "published,tf32,tuned"]));
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    let last = ran.stderr.lines().last().unwrap();
    assert!(last.starts_with("error: the training step in bf16: its losses are"), "{last}");
    let (measured, errors) = measurements(&ran);
    assert_eq!(errors.as_array().unwrap().len(), 2, "{errors}");
    for step in all(&measured, "training step") {
        assert_eq!(step["far"], true);
        assert!(number(step, "largest_loss_difference") > number(step, "loss_bound"));
        let baselines: Vec<_> = step["peers"].as_array().unwrap().iter().collect();
        let names: Vec<_> =
            baselines.iter().map(|baseline| baseline["peer"].as_str().unwrap()).collect();
        assert_eq!(names, ["published", "tuned", "tf32"]);
        let failed: Vec<_> =
            baselines.iter().map(|baseline| baseline["failed"].is_string()).collect();
        assert_eq!(failed, [false, false, true]);
        assert_eq!(number(step, "against_seconds"), 7.0);
    }
    let interleaved = all(&measured, "interleaved");
    let formats: Vec<_> = interleaved.iter().map(|one| &one["format"]).collect();
    assert_eq!(formats, ["fp32", "bf16"]);
    assert_eq!(all(&measured, "losses without dropout").len(), 2);
}

#[test]
fn a_variant_that_fails_is_left_out_and_the_others_are_measured() {
    let (_folder, python) = script(&[("scan", STEADY), ("hgrn", DIES)]);
    let args = "pool --cases 5x2x3 --runs 4 --json --peers hgrn,scan --python";
    let mut args: Vec<&str> = args.split_whitespace().collect();
    args.push(python.to_str().unwrap());
    let ran = bench(&args);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let (measured, _) = measurements(&ran);
    let baselines = all(&measured, "peer");
    let of = |baseline: &str, variant: &str| {
        let one = |one: &&&Value| one["peer"] == baseline && one["variant"] == variant;
        baselines.iter().filter(one).copied().collect::<Vec<_>>()
    };
    // Two kinds; forward, and forward with backward.
    let scalar = of("scan", "scalar");
    assert_eq!(scalar.len(), 4);
    for (baseline, seconds) in scalar.iter().zip([2.0, 4.0, 2.0, 4.0]) {
        assert_eq!(number(baseline, "seconds"), seconds);
        assert_eq!((number(baseline, "off_from_float64"), number(baseline, "runs")), (0.25, 4.0));
    }
    assert_eq!(of("scan", "warp").len(), 2);
    assert!(of("scan", "warp").iter().all(|baseline| baseline["failed"] == "there is no nvcc"));
    let dead: Vec<_> = baselines.iter().filter(|baseline| baseline["peer"] == "hgrn").collect();
    assert_eq!(dead.len(), 1);
    assert!(dead[0]["failed"].as_str().unwrap().contains("illegal memory access"));
}

#[test]
fn a_killed_program_leaves_its_measurements_in_the_record() {
    let (folder, python) = script(&[("tuned", SILENT)]);
    let record = folder.path().join("record.jsonl");
    std::fs::write(&record, "{\"bench\":\"another\"}\n").unwrap();
    let more = ["--peers", "tuned", "--peer-limit", "600", "--record", record.to_str().unwrap()];
    let mut args = step(&python, &more);
    // STEP sets --peer-limit, too.
    let first = args.iter().position(|arg| *arg == "--peer-limit").unwrap();
    args.drain(first..first + 2);
    let mut child = command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    let read = || std::fs::read_to_string(&record).unwrap();
    while read().matches("training step").count() < 2 {
        assert!(start.elapsed() < Duration::from_secs(120), "{}", read());
        assert!(child.try_wait().unwrap().is_none(), "the program exited: {}", read());
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    let lines: Vec<Value> =
        read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["bench"], "another");
    let whats: Vec<_> = lines[1..].iter().map(|line| line["what"].as_str().unwrap()).collect();
    let expected = ["copy", "matrix product", "matrix product", "training step", "training step"];
    assert_eq!(whats, expected);
    for line in &lines[1..] {
        assert_eq!(line["bench"], "step");
        assert!(line["device"].as_str().unwrap().starts_with("the CPU"), "{line}");
    }
}
