//! The table of counts and limits.

use std::fmt::Write as _;

use super::count::Counts;
use super::names;

/// The steps that are counted.
pub const STEPS: usize = 16;

/// Kernels, products, copies and memsets of a step.
const OPERATIONS: f64 = 90.0;

/// Synchronizations in all counted steps: one, which copies the losses back.
const SYNCHRONIZATIONS: f64 = 1.0;

/// Bytes that an optimizer step moves, with the rounding of weights and without the norm.
const OPTIMIZER_BYTES: f64 = 3.2e9;

/// Longer kernel names are cut.
const LONGEST: usize = 110;

#[derive(Debug, PartialEq)]
pub struct Row {
    pub what: &'static str,
    /// `None` where it was not counted.
    pub value: Option<f64>,
    pub limit: Option<f64>,
}

impl Row {
    pub fn is_exceeded(&self) -> bool {
        matches!((self.value, self.limit), (Some(value), Some(limit)) if value > limit)
    }
}

/// * `counts`: of [`STEPS`] steps
/// * `without_context`: in all runs
/// * `optimizer_bytes`: of a step of the entry, without the norm
pub fn rows(counts: &Counts, without_context: usize, optimizer_bytes: Option<f64>) -> Vec<Row> {
    let row = |what, value: usize, limit| Row { what, value: Some(value as f64), limit };
    let each = |what, value: usize, limit| {
        let value = Some(value as f64 / STEPS as f64);
        Row { what, value, limit }
    };
    vec![
        each("our kernels, a step", counts.ours, None),
        each("libtorch's kernels, a step", counts.libtorch, None),
        each("products, a step", counts.products, None),
        each("copies, a step", counts.copies, None),
        each("memsets, a step", counts.memsets, None),
        each("operations, a step", counts.operations(), Some(OPERATIONS)),
        row("synchronizations, 16 steps", counts.synchronizations, Some(SYNCHRONIZATIONS)),
        row("allocations, 16 steps", counts.allocations, Some(0.0)),
        row("pageable copies, 16 steps", counts.pageable, Some(0.0)),
        row("unknown calls, 16 steps", counts.unknown, Some(0.0)),
        row("work without a context, all runs", without_context, Some(0.0)),
        Row {
            what: "optimizer's bytes, a step",
            value: optimizer_bytes,
            limit: Some(OPTIMIZER_BYTES),
        },
    ]
}

/// The counts of steps that compress a model. They may take no more operations than the training of the same model, and
/// must not wait either.
///
/// * `counts`, `of_training`: of [`STEPS`] steps each
pub fn beside_training(counts: &Counts, of_training: &Counts) -> Vec<Row> {
    let training = rows(of_training, 0, None);
    let mut rows = rows(counts, 0, None);
    // Those of all runs and of the optimizer's bytes are in the table of training.
    rows.truncate(rows.len() - 2);
    for (row, training) in rows.iter_mut().zip(training) {
        if row.what.ends_with("a step") {
            row.limit = training.value;
        }
    }
    rows
}

pub fn shown(rows: &[Row]) -> String {
    let mut text = format!("{:<34} {:>14} {:>14}\n", "", "counted", "at most");
    for row in rows {
        let value = row.value.map_or_else(|| "not counted".into(), number);
        let limit = row.limit.map_or_else(String::new, number);
        let mark = if row.is_exceeded() { "   EXCEEDED" } else { "" };
        let _ = writeln!(text, "{:<34} {value:>14} {limit:>14}{mark}", row.what);
    }
    text
}

fn number(value: f64) -> String {
    match value {
        large if large >= 1e6 => format!("{:.3} GB", large / 1e9),
        whole if whole.fract() == 0.0 => format!("{whole:.0}"),
        other => format!("{other:.2}"),
    }
}

/// Kernels, products, copies and memsets a step, most frequent first.
pub fn breakdown(counts: &Counts) -> String {
    let mut names = names::merged(&counts.by_name, STEPS);
    names.sort_by(|(a, m), (b, n)| n.cmp(m).then(a.cmp(b)));
    let mut text = String::from("a step\n");
    for (name, count) in names {
        let shown = match name.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}...", &name[..end]),
            None => name,
        };
        let _ = writeln!(text, "{:6.2}  {shown}", count as f64 / STEPS as f64);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::log::parse;
    use super::*;

    const KERNEL: &str = "LAUNCH\tk\tby=driver";
    const READING: &str = "SYNCHRONIZE\tcudaStreamSynchronize\t";

    /// 16 steps at every limit: 90 operations each, one synchronization.
    fn log() -> Vec<String> {
        let mut lines = vec![READING.to_owned(), "EVENT\tcudaEventRecord\t".into()];
        for _ in 0..STEPS {
            lines.extend((0..60).map(|i| format!("LAUNCH\tk{i}\tby=driver")));
            lines.extend((0..10).map(|i| format!("LAUNCH\tvoid at::f{i}(int)\tby=runtime")));
            lines.extend((0..10).map(|_| "PRODUCT\tp NN m=1 n=1 k=1\ttypes=f32,f32".into()));
            lines.extend((0..9).map(|_| "COPY\thost to device\tmemory=pinned".into()));
            lines.push("MEMSET\tmemset\tbytes=4".into());
        }
        lines
    }

    fn exceeded(lines: &[String], bytes: Option<f64>) -> Vec<&'static str> {
        let text: String = lines.iter().map(|line| format!("1\t2\t{line}\n")).collect();
        let counts = Counts::of(&parse(&text).unwrap());
        let without_context = counts.without_context;
        let rows = rows(&counts, without_context, bytes);
        rows.iter().filter(|row| row.is_exceeded()).map(|row| row.what).collect()
    }

    #[test]
    fn what_reaches_each_limit_passes() {
        assert_eq!(exceeded(&log(), Some(3.2e9)), Vec::<&str>::new());
        assert_eq!(exceeded(&log(), None), Vec::<&str>::new());
    }

    #[test]
    fn each_limit_is_exceeded_by_one_more() {
        for (line, row) in [
            (KERNEL, "operations, a step"),
            (READING, "synchronizations, 16 steps"),
            ("ALLOCATE\tdevice memory\tbytes=4", "allocations, 16 steps"),
            ("FREE\tpinned memory\tbytes=4", "allocations, 16 steps"),
            ("UNKNOWN\tcudaGraphLaunch\t", "unknown calls, 16 steps"),
            ("EVENT\tcuEventRecord\tcontext=none", "work without a context, all runs"),
        ] {
            let more = [log(), vec![line.to_owned()]].concat();
            assert_eq!(exceeded(&more, None), [row], "{line}");
        }
        // It replaces a pinned copy, so the number of operations stays.
        let mut lines = log();
        let copy = lines.iter_mut().find(|line| line.starts_with("COPY")).unwrap();
        *copy = copy.replace("pinned", "pageable");
        assert_eq!(exceeded(&lines, None), ["pageable copies, 16 steps"]);
        assert_eq!(exceeded(&log(), Some(3.2e9 + 1.0)), ["optimizer's bytes, a step"]);
    }

    #[test]
    fn compression_may_take_no_more_than_training() {
        let counts = |lines: &[String]| {
            let text: String = lines.iter().map(|line| format!("1\t2\t{line}\n")).collect();
            Counts::of(&parse(&text).unwrap())
        };
        let exceeded = |lines: &[String]| -> Vec<&str> {
            let rows = beside_training(&counts(lines), &counts(&log()));
            rows.iter().filter(|row| row.is_exceeded()).map(|row| row.what).collect()
        };
        assert_eq!(exceeded(&log()), Vec::<&str>::new());
        assert_eq!(exceeded(&log()[1..]), Vec::<&str>::new());
        let more = [log(), vec![KERNEL.to_owned()]].concat();
        assert_eq!(exceeded(&more), ["our kernels, a step", "operations, a step"]);
        let more = [log(), vec![READING.to_owned()]].concat();
        assert_eq!(exceeded(&more), ["synchronizations, 16 steps"]);
    }

    #[test]
    fn the_table_shows_counts_limits_and_what_is_exceeded() {
        let rows = [
            Row { what: "a", value: Some(180.25), limit: Some(90.0) },
            Row { what: "b", value: Some(0.0), limit: None },
            Row { what: "c", value: None, limit: Some(3.2e9) },
        ];
        let lines: Vec<_> = shown(&rows).lines().skip(1).map(str::to_owned).collect();
        let words: Vec<Vec<_>> =
            lines.iter().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["a", "180.25", "90", "EXCEEDED"]);
        assert_eq!(words[1], ["b", "0"]);
        assert_eq!(words[2], ["c", "not", "counted", "3.200", "GB"]);
    }

    #[test]
    fn the_breakdown_begins_with_what_comes_most_often() {
        let lines = ["LAUNCH\ta\tby=driver", KERNEL, KERNEL].map(|line| format!("1\t2\t{line}\n"));
        let counts = Counts::of(&parse(&lines.concat()).unwrap());
        let text = breakdown(&counts);
        let names: Vec<_> = text.lines().skip(1).map(|line| line.split_at(8).1).collect();
        assert_eq!(names, ["k", "a"]);
    }
}
