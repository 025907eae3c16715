//! A process that sums tensors with the others of its group. Rank 0 prints the times.

use std::time::Instant;

use qrnn::command_line::Output;
use qrnn::model::{LmConfig, QrnnLm};
use qrnn::{Error, Result};
use qrnn_ops::process_group::{ProcessGroup, Rendezvous};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::args::{SumFlags, SumWay, SumsArgs};
use super::machine::{ProcessorTime, time_of_process};
use super::quiet::{QuietFlags, Quietest, Runs};

/// Sums of three numbers in a run, since a single one is short.
const SHORT_SUMS: usize = 100;

/// The times of one payload.
#[derive(Debug, Serialize, Deserialize)]
pub struct SumTimes {
    /// For example, "420 MB".
    pub name: String,
    pub tensors: usize,
    pub bytes: f64,
    /// Of each way to sum: the seconds of each measured run, until the slowest rank has the sum. `None` for memory where
    /// gloo would sum: the system does not permit it, or the tensors are small.
    pub seconds: Vec<Option<Vec<f64>>>,
    /// The largest share of the processors that others used in a run.
    pub others: f64,
}

/// Tensors that are summed together.
struct Payload {
    name: String,
    tensors: Vec<Tensor>,
    /// Sums of a run.
    repeats: usize,
}

pub fn run(args: &SumsArgs) -> Result<Output> {
    qrnn_ops::libtorch::keep_freed_memory();
    let mut ways = join(&args.flags)?;
    let (flags, quiet) = (&args.flags, args.quiet);
    let mut all = vec![];
    for megabytes in &flags.megabytes {
        all.push(measure(&Payload::of_size(*megabytes)?, &ways, flags.runs, quiet)?);
    }
    all.push(measure(&Payload::of_model(flags.summed_model)?, &ways, flags.runs, quiet)?);
    all.push(measure(&Payload::of_numbers()?, &ways, flags.runs, quiet)?);
    let is_main = ways[0].1.rank() == 0;
    // The first group hosts the store of the others, so it is left last.
    while ways.pop().is_some() {}
    let output = Output::done("", json!(all));
    Ok(if is_main { output } else { output.silent() })
}

/// A group for each way to sum, all at one store.
fn join(flags: &SumFlags) -> Result<Vec<(SumWay, ProcessGroup)>> {
    let place = Rendezvous::from_env()?.ok_or_else(|| {
        Error::config("group-sums", "", "it is one process alone", "run `qrnn-bench group`")
    })?;
    let join = |(i, way): (usize, &SumWay)| {
        let rank_hosts_store = i == 0;
        let place = Rendezvous { attempt: i as u64, rank_hosts_store, ..place.clone() };
        Ok((*way, ProcessGroup::join(&place, way.options(), &|| false)?))
    };
    flags.ways.iter().enumerate().map(join).collect()
}

/// Interleaved runs in all ways that fit. The first run of each is not measured, and its sums are checked.
fn measure(
    payload: &Payload,
    ways: &[(SumWay, ProcessGroup)],
    runs: u32,
    quiet: QuietFlags,
) -> Result<SumTimes> {
    let is_used = |(way, group): &(SumWay, ProcessGroup)| {
        *way != SumWay::Memory || group.sums_by_memory(&payload.tensors())
    };
    let used: Vec<usize> = (0..ways.len()).filter(|i| is_used(&ways[*i])).collect();
    let main = &ways[0].1;
    for i in &used {
        payload.timed_sums(&ways[*i].1, true)?;
    }
    let mut measured = Runs::new(quiet, runs as usize);
    let mut first = 0;
    while measured.needs_more() {
        if main.rank() == 0 {
            quiet.wait();
        }
        main.sum_numbers([0.0])?;
        let (before, own) = (ProcessorTime::now(), time_of_process("self"));
        let mut seconds = vec![0.0; used.len()];
        for turn in 0..used.len() {
            let i = (first + turn) % used.len();
            seconds[i] = payload.timed_sums(&ways[used[i]].1, false)?;
        }
        first += 1;
        let own = time_of_process("self") - own;
        measured.add(others(main, before, own)?, seconds);
    }
    let Quietest { runs, others } = measured.quietest();
    let bytes = payload.bytes();
    let of_runs = |i: usize| runs.iter().map(|run| run[i]).collect();
    let of_way = |way: usize| used.iter().position(|i| *i == way).map(of_runs);
    let seconds = (0..ways.len()).map(of_way).collect();
    let (name, tensors) = (payload.name.clone(), payload.tensors.len());
    Ok(SumTimes { name, tensors, bytes, seconds, others })
}

/// The share of the processors that others have used, the same number in all ranks.
///
/// * `own`: seconds of processor time of this process meanwhile.
fn others(group: &ProcessGroup, before: Option<ProcessorTime>, own: f64) -> Result<f64> {
    let passed = ProcessorTime::now().zip(before).map(|(now, before)| now.since(&before));
    let ProcessorTime { all, used } =
        passed.filter(|_| group.rank() == 0).unwrap_or(ProcessorTime { all: 0.0, used: 0.0 });
    let [all, used, own] = group.sum_numbers([all, used, own])?;
    // Short runs last for a few ticks of the clock.
    Ok(ProcessorTime { all: all.max(1.0), used }.of_others(own))
}

impl Payload {
    fn of_size(megabytes: usize) -> Result<Self> {
        let numbers = (megabytes * 250_000) as i64;
        let tensors = vec![Tensor::f_zeros([numbers], (Kind::Float, Device::Cpu))?];
        Ok(Self { name: format!("{megabytes} MB"), tensors, repeats: 1 })
    }

    /// All tensors of a model with the vocabulary of WikiText-103.
    fn of_model((emsize, nhid): (usize, usize)) -> Result<Self> {
        let model = QrnnLm::seeded(&LmConfig::paper(emsize, nhid), (Kind::Float, Device::Cpu), 1)?;
        let parameters = model.parameters();
        let detached = parameters.iter().map(|(_, tensor)| tensor.f_detach());
        let tensors = detached.collect::<Result<_, _>>()?;
        Ok(Self { name: format!("all tensors of {emsize}-{nhid}"), tensors, repeats: 1 })
    }

    fn of_numbers() -> Result<Self> {
        let tensors = vec![Tensor::f_zeros([3], (Kind::Double, Device::Cpu))?];
        Ok(Self { name: "3 doubles".into(), tensors, repeats: SHORT_SUMS })
    }

    fn tensors(&self) -> Vec<&Tensor> {
        self.tensors.iter().collect()
    }

    fn bytes(&self) -> f64 {
        let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
        self.tensors.iter().map(bytes).sum::<usize>() as f64
    }

    /// Seconds of a sum, until the slowest rank has it.
    fn timed_sums(&self, group: &ProcessGroup, checked: bool) -> Result<f64> {
        let tensors = self.tensors();
        self.fill(group.rank() as f64 + 1.0)?;
        // So that all begin together.
        group.sum_numbers([0.0])?;
        let started = Instant::now();
        for _ in 0..self.repeats {
            group.all_reduce(&tensors)?;
        }
        let own = started.elapsed().as_secs_f64() / self.repeats as f64;
        if checked {
            self.check(group.world_size())?;
        }
        let all = group.all_gather(&Tensor::f_from_slice(&[own])?)?;
        Ok(all.f_max()?.f_double_value(&[])?)
    }

    fn fill(&self, value: f64) -> Result<()> {
        for tensor in &self.tensors {
            let _ = tensor.shallow_clone().f_fill_(value)?;
        }
        Ok(())
    }

    /// Checks the sum of 1, 2, … over the ranks, which each further sum multiplies by their number, to a rounding.
    fn check(&self, ranks: usize) -> Result<()> {
        let first = (ranks * (ranks + 1) / 2) as f64;
        let expected = first * (ranks as f64).powi(self.repeats as i32 - 1);
        for tensor in &self.tensors {
            let apart = (tensor.f_div_scalar(expected)? - 1.0).f_abs()?.f_max()?;
            let is_close = apart.f_double_value(&[])? < 1e-6;
            if !is_close {
                let problem = format!("it has other numbers than {expected}");
                return Err(Error::mismatch(
                    format!("the sum of {}", self.name),
                    problem,
                    "report this",
                ));
            }
        }
        Ok(())
    }
}
