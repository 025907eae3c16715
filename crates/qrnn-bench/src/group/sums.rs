//! Sums over processes on this machine: ways to use the network, in turns.

use std::ffi::OsString;

use qrnn::{Result, terminal};
use serde_json::json;

use super::args::{Args, SumWay};
use super::ranks::Ranks;
use super::sums_rank::SumTimes;
use crate::report::Report;
use crate::statistics::{median, median_ratio, quartiles};

pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let [_, threads] = args.threads();
    let (ranks, runs) = (args.ranks, args.sums.runs);
    terminal::note(format_args!("sums over {ranks} processes ..."));
    let call = [vec![OsString::from("group-sums")], args.sums.to_args(), args.quiet.to_args()];
    let call = call.concat();
    let mut processes = Ranks::start(&call, ranks, threads)?;
    let all: Vec<SumTimes> = processes.answer(0)?;
    processes.finish()?;
    report.print(format!(
        "\nall-reduce of {ranks} processes of this machine, by gloo over loopback or by memory: medians of {runs} runs in turns (middle half), and \
         the median of their ratios"
    ));
    for times in all {
        report.print(format!(
            "{}, {}; others used at most {:.0} % of the processors",
            times.name,
            tensors(times.tensors),
            100.0 * times.others
        ));
        let ways = args.sums.ways.iter().zip(&times.seconds);
        let measured = ways.filter_map(|(way, seconds)| Some((*way, seconds.as_ref()?)));
        let Some((against, first)) = measured.clone().next() else { continue };
        for (way, seconds) in measured {
            let ratio = median_ratio(first, seconds);
            report.print(line(way, times.bytes, seconds, (ratio, against)));
            let middle = median(seconds.clone());
            report.add(
                json!({"what": "all-reduce", "of": times.name, "variant": way.label(),
                "tensors": times.tensors, "bytes": times.bytes, "ranks": ranks, "runs": runs,
                "seconds": middle, "middle_half": quartiles(seconds.clone()),
                "bytes_per_second": times.bytes / middle, "against": against.label(), "others": times.others,
                "against_seconds": median(first.clone()), "ratio": ratio}),
            )?;
        }
    }
    Ok(())
}

fn line(way: SumWay, bytes: f64, seconds: &[f64], (ratio, against): (f64, SumWay)) -> String {
    let [low, high] = quartiles(seconds.to_vec());
    let middle = median(seconds.to_vec());
    let mut text = format!(
        "  {:<24} {:8.3} ms ({:.3} to {:.3})",
        way.label(),
        1e3 * middle,
        1e3 * low,
        1e3 * high,
    );
    // Short sums are about latency.
    if bytes >= 1e6 {
        text += &format!("   {:5.2} GB/s", bytes / middle / 1e9);
    }
    if way != against {
        text += &format!("   {ratio:.2} times the speed of {}", against.label());
    }
    text
}

fn tensors(n: usize) -> String {
    if n == 1 { "1 tensor".into() } else { format!("{n} tensors") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_speed_and_ratio() {
        let [way, against] = ["2x4", "1x1"].map(|text| text.parse().unwrap());
        let seconds = [0.2, 0.21, 0.25];
        let text = line(way, 420e6, &seconds, (1.5, against));
        let expected = "  2 connections, 4 pieces   210.000 ms (200.000 to 250.000)    2.00 GB/s   1.50 times the speed \
                        of 1 connection, not cut";
        assert_eq!(text, expected);
        let short = line(against, 24.0, &seconds, (1.0, against));
        assert_eq!(short, "  1 connection, not cut     210.000 ms (200.000 to 250.000)");
    }
}
