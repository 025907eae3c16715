//! Runs the script of a pack with fake programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::programs::PROGRAMS;
use super::{FACTS, SCRIPT, check_free, ship, sizes};

/// Gives what follows a flag among the arguments.
const AFTER: &str = r#"#!/usr/bin/env bash
after() { # flag, arguments
    local flag=$1
    shift
    while (($# > 1)); do [ "$1" = "$flag" ] && echo "$2"; shift; done
}
"#;

/// A step's bench that hangs, a pool's that fails and prints too much, an evaluation with a figure.
const BENCH: &str = r#"
case "$1" in
    step) sleep 100 ;;
    pool) yes too much | head -c 3000000; echo the end; exit 3 ;;
    evaluate) echo "$EVALUATED" >>"$(after --record "$@")" ;;
esac
"#;

/// A run that is saved once it is interrupted, unless that happens twice.
const REPRODUCE: &str = r#"
run=$(after --out "$@")
case "$1 $2" in
    train*--resume*) ;;
    train*)
        mkdir -p "$run"
        if [[ "$*" = *--resume* ]]; then
            echo "$*" >"$run/resumed"
            printf '{"kind": "steps", "step": %s}\n' 40 60 >>"$run/metrics.jsonl"
            exit
        fi
        echo '{"kind": "steps", "step": 20}' >"$run/metrics.jsonl"
        trap '((heard++)) && exit 1' INT
        while ((!heard)); do sleep 0.1; done
        sleep 0.3
        echo '{"losses": [0, 0, 0]}' >"$run/results.json"
        exit 130
        ;;
esac
"#;

const TESTS: &str = r#"#!/usr/bin/env bash
echo "test train::trainer::formats::on_a_gpu_200_steps ... Single on Cuda(0): 1.0e-6 over 20 steps, 2.5e-5 over 200"
echo "test result: FAILED. 30 passed; 1 failed; 0 ignored; 0 measured; 200 filtered out"
exit 101
"#;

/// Tests that pass after others that failed.
const MORE_TESTS: &str = r#"#!/usr/bin/env bash
echo "test result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out"
"#;

/// A pack of fake programs.
fn pack() -> TempDir {
    let pack = tempfile::tempdir().unwrap();
    ship(pack.path()).unwrap();
    let texts = [
        AFTER.to_owned() + REPRODUCE,
        AFTER.to_owned() + BENCH,
        TESTS.to_owned(),
        MORE_TESTS.to_owned(),
    ];
    for ((name, _), text) in PROGRAMS.iter().zip(texts) {
        let program = pack.path().join(name);
        fs::write(&program, &text).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(pack.path().join(FACTS), "{\"commit\": \"abc\"}").unwrap();
    pack
}

/// Runs a part of the script with this limit.
fn measure(pack: &Path, part: &str, seconds: u32) -> (Output, Duration) {
    let begun = Instant::now();
    let evaluated = json!({"bench": "evaluate", "device": "NULL H100",
        "what": "evaluation of the entry", "format": "fp32", "seconds": 1.5});
    let output = Command::new(pack.join(SCRIPT))
        .arg(part)
        .env("OUT", pack.join("out"))
        .env("QRNN_MEASURE_FIRST", seconds.to_string())
        .env("QRNN_MEASURE_SECOND", seconds.to_string())
        .env("EVALUATED", evaluated.to_string())
        .output();
    (output.unwrap(), begun.elapsed())
}

/// The records of a part's steps by name.
fn steps(out: &Path, part: &str) -> Value {
    let text = fs::read_to_string(out.join(format!("{part}.jsonl"))).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let steps = lines.filter_map(|line| Some((line["step"].as_str()?.to_owned(), line.clone())));
    steps.collect::<serde_json::Map<_, _>>().into()
}

/// The figures of a folder's table by name, and the printed table.
fn table(folder: &Path) -> (Value, String) {
    let pack = pack();
    let mut python = Command::new("python3");
    python.arg("-B").arg(pack.path().join("table.py")).arg(folder).arg(pack.path().join(FACTS));
    let output = python.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(folder.join("figures.json")).unwrap();
    let figures: Value = serde_json::from_str(&text).unwrap();
    let rows = figures["figures"].as_array().unwrap().iter();
    let rows = rows.map(|row| (row["figure"].as_str().unwrap().to_owned(), row.clone()));
    (rows.collect::<serde_json::Map<_, _>>().into(), printed)
}

#[test]
fn a_part_ends_itself_and_goes_on_where_a_step_fails() {
    let pack = pack();
    let (output, time) = measure(pack.path(), "second", 16);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(time < Duration::from_secs(30), "{time:?}");
    let out = pack.path().join("out");
    let steps = steps(&out, "second");
    assert_eq!(steps["step"]["status"], 124, "{steps}");
    assert_eq!(steps["pool"]["status"], 3, "{steps}");
    assert_eq!(steps["evaluate"]["status"], 0, "{steps}");
    // It received one SIGINT and resumed.
    assert_eq!(steps["train"]["status"], 130, "{steps}");
    assert_eq!(steps["resume"]["status"], 0, "{steps}");
    assert_eq!(steps["resumed"]["status"], 0, "{steps}");
    let log = fs::read_to_string(out.join("second.log")).unwrap();
    assert!(log.contains("bytes are left out here") && log.contains("the end\n"));
    assert!(log.contains("--resume --steps 203"), "{log:.3000}");
    assert!(log.contains("the log goes on from step 20 to 60"));
    let files = sizes(&out).unwrap();
    assert!(files.len() <= 8 && files.iter().all(|(_, bytes)| *bytes < 16_000_000), "{files:?}");
    // Results of stand-ins are not figures.
    let (rows, _) = table(&out);
    let text = fs::read_to_string(out.join("table.txt")).unwrap();
    assert!(said.ends_with(&text) && text.contains("commit abc"), "{said}");
    assert!(rows.as_object().unwrap().values().all(|row| row["measured"].is_null()), "{rows}");
}

#[test]
fn the_first_part_leaves_out_what_the_machine_lacks() {
    let pack = pack();
    let (output, _) = measure(pack.path(), "first", 9);
    assert_eq!(output.status.code(), Some(1));
    let steps = steps(&pack.path().join("out"), "first");
    assert_eq!(steps["tests"]["status"], 1, "{steps}");
    let log = fs::read_to_string(pack.path().join("out/first.log")).unwrap();
    assert!(log.contains("30 passed; 1 failed") && log.contains("9 passed"), "{log:.3000}");
    assert!(steps["evaluate"]["status"] == 0, "{steps}");
    if steps["memcheck-pool"]["status"].is_null() {
        assert_eq!(steps["memcheck-pool"]["not_run"], "compute-sanitizer is not installed");
    }
}

#[test]
fn a_wrong_call_says_how_to_call() {
    let pack = pack();
    for part in ["", "third"] {
        let (output, _) = measure(pack.path(), part, 9);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stdout).contains("measure.sh second"));
    }
    assert!(!pack.path().join("out").exists());
}

/// A folder as both parts leave it on a machine with this GPU, with the records changed by `change`.
fn results(gpu: &str, change: impl Fn(&mut Vec<Value>)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let size = [300, 40, 1800];
    let mut first = vec![
        json!({"part": "first", "machine": {"gpu": gpu, "packages": {"torch": "2.11.0"}}}),
        json!({"bench": "step", "what": "training step", "format": "bf16", "seconds": 6.4e-3,
            "wall_seconds": 6.6e-3, "peak_bytes": 3.1e9, "stages": [
                {"stage": "matrix products", "seconds": 3e-3, "operations": 2e12, "share_of_rate": 0.8},
                {"stage": "cross entropy", "seconds": 4e-4, "bytes": 1e9, "share_of_bandwidth": 0.9}]}),
        json!({"bench": "step", "what": "training step", "format": "tf32", "seconds": 10.9e-3}),
        json!({"bench": "pool", "what": "forward", "kind": "bf16", "size": size, "seconds": 7e-5,
            "share_of_bandwidth": 0.86}),
        json!({"bench": "pool", "what": "forward and backward", "kind": "bf16", "size": size,
            "seconds": 2e-4, "share_of_bandwidth": 0.87, "off_from_float64": 2e-3}),
        json!({"bench": "evaluate", "what": "evaluation of the entry", "format": "fp32", "seconds": 1.9}),
    ];
    for step in ["tests", "pool", "step", "evaluate", "memcheck-pool"] {
        first.push(json!({"part": "first", "step": step, "status": 0, "seconds": 9, "limit": 90}));
    }
    let peer = |peer, kind, of, ratio| {
        json!({"bench": "pool", "what": "peer", "of": of, "kind": kind, "size": size, "peer": peer,
            "ratio": ratio, "part": "second"})
    };
    let mut second = vec![
        json!({"part": "second", "machine": {"gpu": gpu}}),
        json!({"bench": "step", "what": "peer", "of": "training step", "peer": "published",
            "ratios": {"bf16": 9.0, "tf32": 5.0}, "part": "second"}),
        peer("hgrn", "bf16", "forward", 2.0),
        peer("hgrn", "bf16", "forward and backward", 1.6),
        json!({"bench": "pool", "what": "peer", "of": "pooling", "kind": "bf16", "size": size,
            "peer": "scan", "failed": "no nvcc", "part": "second"}),
        json!({"bench": "curves", "what": "furthest losses", "format": "bf16", "difference": 1e-3,
            "difference_of_a_seed": 2e-2, "part": "second"}),
    ];
    for (step, status) in
        [("step", 0), ("pool", 0), ("train", 130), ("resume", 0), ("resumed", 0), ("curves", 124)]
    {
        second.push(
            json!({"part": "second", "step": step, "status": status, "seconds": 9, "limit": 60}),
        );
    }
    first.append(&mut second);
    change(&mut first);
    for part in ["first", "second"] {
        let mut text = String::new();
        for record in &mut first {
            if record["bench"].is_string() && record["device"].is_null() {
                record["device"] = gpu.into();
            }
            let of = record["part"].as_str().unwrap_or("first") == part;
            text += &if of { format!("{record}\n") } else { String::new() };
        }
        // Cut off in the middle of a record.
        fs::write(folder.path().join(format!("{part}.jsonl")), text + "{\"bench\": \"st").unwrap();
    }
    let log = "Driver\n=== tests: at most 9 s: tests --ignored\n\
         test train::trainer::formats::on_a_gpu_200_steps ... Single on Cuda(0): 1.0e-6 over 20 steps, 2.5e-5 over 200\n\
         test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 200 filtered out\n\
         test result: ok. 26 passed; 0 failed; 0 ignored; 0 measured; 90 filtered out\n\
         === memcheck-pool: at most 9 s: x\n========= ERROR SUMMARY: 0 errors\n";
    fs::write(folder.path().join("first.log"), log).unwrap();
    let log = "=== resumed: at most 9 s: x\nthe log goes on from step 20 to 60\n";
    fs::write(folder.path().join("second.log"), log).unwrap();
    folder
}

const H100: &str = "NVIDIA H100 80GB HBM3";

#[test]
fn figures_that_meet_their_goals_say_so() {
    let (rows, printed) = table(results(H100, |_| ()).path());
    let met = [
        ("step in bf16", json!(6.4e-3)),
        ("step in TF32", json!(10.9e-3)),
        ("memory in bf16", json!(3.1e9)),
        ("pooling forward, bf16, of the copy", json!(0.86)),
        ("published step / ours in bf16", json!(9.0)),
        ("HGRN / ours, pooling, bf16", json!(1.6)),
        ("test text, fp32", json!(1.9)),
        ("losses of 200 steps, fp32, off the CPU's", json!(2.5e-5)),
        ("bf16 off TF32 / a seed off another", json!(0.05)),
        ("tests on the GPU that fail", json!(0)),
        ("memcheck of fo_pool, errors", json!(0)),
        ("pooling off float64, bf16", json!(2e-3)),
        ("interrupted, resumed, log: statuses", json!(0)),
    ];
    for (figure, value) in met {
        assert_eq!(rows[figure]["verdict"], "met", "{figure}: {}", rows[figure]);
        assert_eq!(rows[figure]["measured"], value, "{figure}");
    }
    let row = printed.lines().find(|line| line.starts_with("step in bf16")).unwrap();
    let row = row.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(row.starts_with("step in bf16 6.40 ms <= 6.50 ms met 6.30 ms"), "{row}");
    assert!(printed.contains("0 of 31"), "{printed}");
    assert!(printed.contains("1.03 times as long") && printed.contains("90 % of the copy"));
}

#[test]
fn figures_that_are_missing_say_why() {
    let (rows, printed) = table(results(H100, |_| ()).path());
    for (figure, why) in [
        ("step in fp32", "qrnn-bench step has no record of it"),
        ("accelerated-scan / ours, bf16", "failed: no nvcc"),
        ("memcheck of the optimizer, errors", "memcheck-adam of measure.sh first did not end"),
        ("losses of 200 steps, bf16", "no test has printed it"),
    ] {
        assert_eq!(rows[figure]["verdict"], "not measured", "{figure}: {}", rows[figure]);
        assert_eq!(rows[figure]["why"], why, "{figure}");
        assert!(printed.contains(&format!("  {why}: ")), "{printed}");
    }
}

#[test]
fn figures_that_miss_their_goals_say_so() {
    let spoiled = results(H100, |records| {
        records[1]["seconds"] = 6.6e-3.into();
        records[1]["peak_bytes"] = Value::Null;
        records[3]["share_of_bandwidth"] = 0.84.into();
        records[4]["off_from_float64"] = Value::Null;
        records[5] = json!({"bench": "evaluate", "what": "evaluation of the entry",
            "format": "fp32", "failed": "out of memory"});
    });
    let (rows, printed) = table(spoiled.path());
    assert_eq!(rows["step in bf16"]["verdict"], "missed");
    assert_eq!(rows["pooling forward, bf16, of the copy"]["verdict"], "missed");
    // A missing number is not close.
    assert_eq!(rows["pooling off float64, bf16"]["verdict"], "missed");
    assert_eq!(rows["memory in bf16"]["why"], "the record of qrnn-bench step has no peak_bytes");
    assert_eq!(rows["test text, fp32"]["why"], "failed: out of memory");
    assert!(printed.contains("MISSED"));
}

#[test]
fn no_figure_of_a_stand_in_is_taken_for_a_measurement() {
    for gpu in [json!("NULL H100"), json!("no GPU"), Value::Null] {
        let folder = results(H100, |records| {
            for record in records.iter_mut().filter(|record| !record["machine"].is_null()) {
                record["machine"]["gpu"] = gpu.clone();
            }
        });
        let (rows, printed) = table(folder.path());
        for row in rows.as_object().unwrap().values() {
            assert_eq!((&row["verdict"], &row["measured"]), (&json!("no GPU"), &Value::Null));
        }
        assert!(!printed.contains("6.40"), "{printed}");
    }
    // A record of a stand-in on a machine that has a GPU as well.
    let folder = results(H100, |records| records[1]["device"] = "NULL H100".into());
    assert_eq!(table(folder.path()).0["step in bf16"]["measured"], Value::Null);
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    check_free(folder.path()).unwrap();
    check_free(&folder.path().join("new")).unwrap();
    fs::write(folder.path().join("thesis.tex"), "").unwrap();
    assert!(check_free(folder.path()).unwrap_err().to_string().contains("not a pack"));
    check_free(pack().path()).unwrap();
}
