//! Training by one process with all threads, and by several that share them, in turns.

use std::ffi::OsString;
use std::time::Duration;

use qrnn::format::thousands;
use qrnn::{Result, terminal};
use serde_json::{Value, json};

use super::args::Args;
use super::breakdown::{self, Breakdown, Operations};
use super::machine::ProcessorTime;
use super::quiet::{Quietest, Runs};
use super::ranks::Ranks;
use super::training_rank::{Block, ProfiledSteps};
use crate::report::Report;
use crate::statistics::{median, median_ratio, quartiles};

/// Pause between turns: idle threads spin for a while before they sleep, and would slow down the next turn.
const PAUSE: Duration = Duration::from_millis(30);

/// Difference of losses that only another order of additions does not explain.
const TOLERANCE: f64 = 1e-2;

pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let flags = &args.training;
    let (emsize, nhid) = flags.model;
    let text = match &flags.data {
        Some(data) => data.file_name().unwrap_or(data.as_ref()).to_string_lossy().into_owned(),
        None => format!("random tokens of {} types", flags.types),
    };
    report.print(format!(
        "\ntraining of {emsize}-{nhid} in fp32 on {text}: batch size {}, sequence length {}; {} pairs of blocks of {} \
         steps",
        flags.batch_size, flags.bptt, args.pairs, flags.steps
    ));
    let Quietest { runs: pairs, others } = in_turns(args)?;
    let (one, many): (Vec<_>, Vec<_>) = pairs.into_iter().map(|[one, many]| (one, many)).unzip();
    let blocks = [one, many];
    let rate = |block: &Block| block.tokens / block.seconds;
    let [one, many] = blocks.each_ref().map(|blocks| blocks.iter().map(rate).collect::<Vec<_>>());
    let ratios: Vec<f64> = many.iter().zip(&one).map(|(many, one)| many / one).collect();
    let (ratio, middle_half) = (median_ratio(&many, &one), quartiles(ratios));
    let names = names(args);
    for (name, rates) in names.iter().zip([&one, &many]) {
        let [low, high] = quartiles(rates.clone()).map(|rate| thousands(rate as u64));
        let middle = thousands(median(rates.clone()) as u64);
        report.print(format!("  {name:<28} {middle:>8} tokens/s ({low} to {high})"));
    }
    report.print(format!(
        "  median of the pairs' ratios {ratio:.3} (middle half {:.3} to {:.3}); others used at most {:.0} % of the \
         processors",
        middle_half[0],
        middle_half[1],
        100.0 * others
    ));
    let pairs = blocks[0].iter().zip(&blocks[1]);
    let differences: Vec<f64> = pairs.map(|(one, many)| (one.loss - many.loss).abs()).collect();
    let difference = differences.iter().copied().fold(0.0, f64::max);
    report.add(json!({"what": "training", "of": names[1], "model": format!("{emsize}-{nhid}"),
        "format": "fp32", "text": text, "ranks": args.ranks, "pairs": args.pairs, "steps":
        flags.steps, "batch_size": flags.batch_size, "bptt": flags.bptt, "tokens_per_second":
        median(many), "against": names[0], "against_tokens_per_second": median(one), "ratio": ratio,
        "middle_half_of_ratios": middle_half, "largest_loss_difference": difference, "others": others}))?;
    // `max` ignores NaN.
    if differences.iter().any(|difference| difference.is_nan() || *difference > TOLERANCE) {
        report
            .problem(format!("losses of {} and {} differ by {difference:.1e}", names[0], names[1]));
    }
    profile(args, &names, report)
}

/// One process, and several.
fn names(args: &Args) -> [String; 2] {
    let [all, share] = args.threads();
    let named = |processes: usize, threads: usize| {
        let s = |n: usize| if n == 1 { "" } else { "s" };
        let es = if processes == 1 { "" } else { "es" };
        format!("{processes} process{es} of {threads} thread{}", s(threads))
    };
    [named(1, all), named(args.ranks, share)]
}

/// Starts one process, and several.
fn start(args: &Args, more: &[OsString]) -> Result<[Ranks; 2]> {
    let call = [&["group-training".into()], &args.training.to_args()[..], more].concat();
    let [all, share] = args.threads();
    Ok([Ranks::start(&call, 1, all)?, Ranks::start(&call, args.ranks, share)?])
}

/// Pairs of blocks, by one process and by several. The first pair is not measured, and each begins every second pair.
fn in_turns(args: &Args) -> Result<Quietest<[Block; 2]>> {
    let most = args.pairs as usize * args.quiet.patience as usize;
    let steps = args.training.steps * (most + 1);
    let mut both = start(args, &["--all-steps".into(), steps.to_string().into()])?;
    let block = |i: usize, both: &mut [Ranks; 2]| -> Result<Block> {
        both[i].tell("train a block")?;
        let block = both[i].answer(0)?;
        std::thread::sleep(PAUSE);
        Ok(block)
    };
    let own = |both: &[Ranks; 2]| both.iter().map(Ranks::processor_time).sum::<f64>();
    for i in 0..2 {
        block(i, &mut both)?;
    }
    let mut pairs = Runs::new(args.quiet, args.pairs as usize);
    let mut one_first = true;
    while pairs.needs_more() {
        args.quiet.wait();
        let (before, own_before) = (ProcessorTime::now(), own(&both));
        let pair = if one_first {
            [block(0, &mut both)?, block(1, &mut both)?]
        } else {
            let many = block(1, &mut both)?;
            [block(0, &mut both)?, many]
        };
        one_first = !one_first;
        let passed = ProcessorTime::now().zip(before).map(|(now, before)| now.since(&before));
        let others = passed.map_or(0.0, |passed| passed.of_others(own(&both) - own_before));
        let rates = pair.each_ref().map(|block| (block.tokens / block.seconds) as u64);
        terminal::note(format_args!("{rates:?} tokens/s, others used {:.0} %", 100.0 * others));
        pairs.add(others, pair);
    }
    both.into_iter().try_for_each(Ranks::finish)?;
    Ok(pairs.quietest())
}

/// Trains a further block with the timers of stages, and reports where the time of a step goes.
fn profile(args: &Args, names: &[String; 2], report: &mut Report) -> Result<()> {
    terminal::note("stages of a step ...");
    let steps = args.training.steps.max(2 * breakdown::WARM_UP);
    let call = ["--profiled".into(), "--all-steps".into(), steps.to_string().into()];
    let mut columns = vec![];
    let mut ranks = vec![];
    let mut of_group = None;
    // Each alone on the machine.
    let call = [&["group-training".into()], &args.training.to_args()[..], &call].concat();
    for (processes, threads) in [1, args.ranks].into_iter().zip(args.threads()) {
        args.quiet.wait();
        let mut running = Ranks::start(&call, processes, threads)?;
        let answers = (0..processes).map(|rank| running.answer(rank));
        let profiled: Vec<ProfiledSteps> = answers.collect::<Result<_>>()?;
        running.finish()?;
        let counted = &profiled[0].steps[breakdown::WARM_UP.min(profiled[0].steps.len())..];
        let seconds = counted.iter().sum::<f64>() / counted.len() as f64;
        for (rank, profiled) in profiled.iter().enumerate() {
            let name = if processes == 1 { "1 process".into() } else { format!("rank {rank}") };
            columns.push(name);
            ranks.push((Breakdown::new(profiled, steps)?.of_steps(seconds), seconds));
        }
        of_group = profiled.into_iter().next();
    }
    let (ranks, seconds): (Vec<Breakdown>, Vec<f64>) = ranks.into_iter().unzip();
    let operations = Operations::of(&ranks[1..]);
    let pairs: Vec<(String, &Breakdown)> = columns.iter().cloned().zip(&ranks).collect();
    report.print(format!(
        "\n{}, and each of {}:\n{}",
        names[0],
        names[1],
        breakdown::table(&pairs)
    ));
    for ((name, breakdown), seconds) in pairs.iter().zip(seconds) {
        report.add(json!({"what": "stages of a training step", "of": name, "steps": steps,
            "seconds": seconds, "stages": breakdown.to_json()}))?;
    }
    let Some((operations, of_group)) = operations.zip(of_group) else { return Ok(()) };
    let value = operations_in_json(&operations, &of_group);
    report.print(operations_in_text(&operations, &of_group));
    report.add(value).map(drop)
}

fn operations_in_json(operations: &Operations, profiled: &ProfiledSteps) -> Value {
    let Operations { per_step, transfer, waiting } = operations;
    json!({"what": "sums of a training step", "operations": per_step, "tensors":
        profiled.tensors, "bytes": 4 * profiled.parameters, "seconds": transfer, "waiting_seconds":
        waiting})
}

fn operations_in_text(operations: &Operations, profiled: &ProfiledSteps) -> String {
    let Operations { per_step, transfer, waiting } = operations;
    let waiting: Vec<String> =
        waiting.iter().map(|seconds| format!("{:.2}", 1e3 * seconds)).collect();
    format!(
        "  {per_step:.1} operations of the group in a step, on {} gradients of {:.1} MB; they take {:.2} ms when all \
         ranks are there, and the ranks wait {} ms for others",
        profiled.tensors,
        4.0 * profiled.parameters as f64 / 1e6,
        1e3 * transfer,
        waiting.join(", "),
    )
}
