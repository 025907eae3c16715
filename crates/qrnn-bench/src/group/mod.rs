//! Processes on this machine that compute together: sums of tensors, by ways to use the network, and training,
//! compared with one process that has the threads of all.

mod args;
mod breakdown;
mod machine;
mod quiet;
mod ranks;
mod sums;
mod sums_rank;
mod training;
mod training_rank;

use args::Part;
pub use args::{Args, SumsArgs, TrainingArgs};
use qrnn::Result;
use qrnn::command_line::Output;
pub use sums_rank::run as run_sums;
use tch::Device;
pub use training_rank::run as run_training;

use crate::report::Report;
use machine::Machine;

pub fn run(args: &Args, json: bool) -> Result<Output> {
    tch::set_num_threads(args.threads()[0] as i32);
    let mut report = Report::new("group", Device::Cpu, &args.record, json)?;
    let watch = |when: &str, report: &mut Report| {
        let machine = Machine::watch();
        report.print(format!("{when}: {machine}"));
        report.add(machine.to_json(when)).map(drop)
    };
    watch("before", &mut report)?;
    if args.parts.contains(&Part::Sums) {
        sums::run(args, &mut report)?;
    }
    if args.parts.contains(&Part::Training) {
        training::run(args, &mut report)?;
    }
    report.print("");
    watch("after", &mut report)?;
    Ok(report.finish(
        "processes on one machine share its memory and processors: a network is another matter",
    ))
}
