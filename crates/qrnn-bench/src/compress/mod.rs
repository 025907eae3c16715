//! Compressed models of random weights against the entry in single precision, on the CPU: a product, generation,
//! evaluation. The implementations take turns in one process.

mod args;
mod evaluation;
mod generation;
mod models;
mod products;

pub use args::Args;
use args::Part;
use qrnn::Result;
use qrnn::command_line::Output;
use qrnn::terminal;
use tch::Device;

use crate::report::Report;

pub fn run(args: &Args, json: bool) -> Result<Output> {
    tch::set_num_threads(args.threads);
    qrnn_ops::libtorch::keep_freed_memory();
    let mut report = Report::new("compress", Device::Cpu, &args.record, json)?;
    let has = |part: Part| args.parts.contains(&part);
    if has(Part::Products) {
        products::run(args, &mut report)?;
    }
    if has(Part::Generate) || has(Part::Evaluate) {
        terminal::note("models of random weights ...");
        let mut models = models::models(args)?;
        if has(Part::Generate) {
            generation::run(args, &models, &mut report)?;
        }
        if has(Part::Evaluate) {
            evaluation::run(args, &mut models, &mut report)?;
        }
    }
    Ok(report.finish("models have random weights: nothing was trained"))
}
