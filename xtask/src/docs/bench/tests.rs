use serde_json::json;

use super::*;

/// A file with these records of a device named D.
fn file(bench: &str, records: &[Value]) -> String {
    let line = |record: &Value| {
        let mut record = record.clone();
        (record["bench"], record["device"]) = (json!(bench), json!("D"));
        format!("{record}\n")
    };
    records.iter().map(line).collect()
}

/// The lines of the only table, after what it is measured on.
fn lines(table: Result<String>) -> Vec<String> {
    let table = table.unwrap();
    let table = table.strip_prefix("\nMeasured on D:\n\n").unwrap();
    table.trim_end().lines().map(String::from).collect()
}

fn step(format: &str, seconds: f64) -> Value {
    json!({"what": "training step", "model": "8-12-split", "format": format, "words": 1400,
        "seconds": seconds, "words_per_second": 1234.5, "minutes_for_20_epochs": 1e3, "times_the_floor": 1.5,
        "peak_bytes": 2.5e9, "stages": [{"stage": "all else", "seconds": 1e-6},
            {"stage": "optimizer", "seconds": 2e-3, "share_of_bandwidth": 0.85},
            {"stage": "matrix products", "seconds": 6e-3, "share_of_rate": 0.5}]})
}

fn peer(fields: Value) -> Value {
    let mut peer = json!({"what": "peer", "of": "training step", "model": "8-12-split"});
    peer.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    peer
}

#[test]
fn a_step_has_a_line_with_a_column_for_each_other_implementation() {
    let file = file(
        "step",
        &[
            json!({"what": "copy", "seconds": 1.0}),
            step("fp32", 12e-3),
            step("bf16", 0.008),
            // Its stages took longer.
            step("tf32", 0.004),
            peer(json!({"peer": "a", "against": "torch", "ratios": {"fp32": 3.0, "bf16": null}})),
            peer(json!({"peer": "b", "against": "b", "failed": "why"})),
            peer(json!({"peer": "c", "against": "tuned", "format": "fp32", "ratios": {"fp32": 2}})),
            peer(json!({"peer": "c", "against": "tuned", "format": "bf16", "ratios": {"bf16": 4}})),
        ],
    );
    let lines = lines(steps(&[file]));
    assert!(
        lines[0].ends_with("| peak memory | PyTorch: torch | PyTorch: tuned |"),
        "{}",
        lines[0]
    );
    assert_eq!(
        lines[2..],
        [
            "| 8-12-split | fp32 | 1,400 | 1,234 | 17 h | 50 % | 1.50 | 2.50 GB | 3.00 times as long \
         | 2.00 times as long |",
            "| 8-12-split | bf16 | 1,400 | 1,234 | 17 h | 75 % | 1.50 | 2.50 GB |  \
         | 4.00 times as long |",
            "| 8-12-split | tf32 | 1,400 | 1,234 | 17 h | 75 % | 1.50 | 2.50 GB |  |  |",
        ]
    );
}

#[test]
fn a_later_record_replaces_that_of_the_same_measurement() {
    let files = [
        file("step", &[step("bf16", 0.5), step("fp32", 1.0)]),
        file("step", &[step("bf16", 0.25)]),
    ];
    let lines = lines(stages(&files));
    assert_eq!(lines[0], "| ms | 8-12-split bf16 | 8-12-split fp32 |");
    assert_eq!(
        lines[2..],
        [
            "| whole step | 250.00 | 1000.00 |",
            "| matrix products | 6.00 (50 %) | 6.00 (50 %) |",
            "| optimizer | 2.00 (85 %) | 2.00 (85 %) |",
        ]
    );
}

#[test]
fn each_device_has_a_table_of_its_own_runs() {
    let step = file("step", &[step("bf16", 0.5)]);
    let files = [step.clone(), step.replace("\"D\"", "\"E\""), "{\"part\": \"first\"}\n".into()];
    let table = steps(&files).unwrap();
    let devices: Vec<&str> = table.lines().filter(|line| line.starts_with("Measured")).collect();
    assert_eq!(devices, ["Measured on D:", "Measured on E:"]);
    assert_eq!(evaluations(&files).unwrap(), "");
}

#[test]
fn a_failed_measurement_has_no_line_and_a_changed_one_is_named() {
    let failed = json!({"what": "training step", "model": "a", "failed": "why"});
    assert_eq!(steps(&[file("step", &[failed])]).unwrap(), "");
    let changed = json!({"what": "training step", "model": "a"});
    let error = steps(&[file("step", &[changed])]).unwrap_err().to_string();
    assert!(error.contains("missing field `format`"), "{error}");
}

#[test]
fn pooling_is_compared_at_the_same_size_and_precision() {
    let pool = |what: &str, kind: &str| {
        json!({"what": what, "size": [1, 2, 3], "kind": kind,
        "seconds": 1e-3, "share_of_bandwidth": 0.5})
    };
    let file = file(
        "pool",
        &[
            pool("forward", "bf16"),
            pool("forward and backward", "bf16"),
            pool("forward", "f32"),
            json!({"what": "peer", "of": "forward", "size": [1, 2, 3], "kind": "bf16", "peer": "loop",
            "against": "a loop", "ratio": 10}),
        ],
    );
    assert_eq!(
        lines(pooling(&[file]))[2..],
        [
            "| forward | (1, 2, 3) | bf16 | 1.00 | 50 % | 10.00 times as long |",
            "| forward | (1, 2, 3) | f32 | 1.00 | 50 % |  |",
            "| forward and backward | (1, 2, 3) | bf16 | 1.00 | 50 % |  |",
        ]
    );
}

#[test]
fn evaluations_and_texts_have_a_line_for_each_measurement() {
    let what = "evaluation of the entry";
    let evaluated = [
        json!({"what": what, "format": "bf16", "tokens": 14000, "seconds": 1.25}),
        json!({"what": "peer", "of": what, "peer": "fp32", "against": "torch", "ratios": {"bf16": 5}}),
    ];
    let table = lines(evaluations(&[file("evaluate", &evaluated)]));
    assert_eq!(table[2..], ["| bf16 | 14,000 | 1.25 | 5.00 times as long |"]);
    let read = [
        json!({"what": "text to ids", "seconds": 2, "bytes_per_second": 3e6, "peak_bytes": 1e9}),
        json!({"what": "two passes of Python", "seconds": 20, "ratio": 10}),
    ];
    assert_eq!(
        lines(corpus(&[file("corpus", &read)]))[2..],
        [
            "| text to tokens | 2.000 | 3 | 1.00 GB |  |",
            "| two passes of Python | 20.000 |  |  | 10.0 |",
        ]
    );
}
