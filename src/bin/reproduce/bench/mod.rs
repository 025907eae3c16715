//! `reproduce bench`: what it costs, beside what else it could cost, measured in the same run.

mod ceilings;
mod child;
mod corpus;
mod curves;
mod device;
mod evaluate;
mod format;
mod ids;
mod peers;
mod pool;
mod products;
mod python;
mod report;
mod shape;
mod stages;
mod step;
mod torch_model;
mod zipf;

use clap::{Args as ClapArgs, Subcommand};
use qrnn::Result;

use crate::output::Output;

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reading a text of WikiText-103's size, against plain Python
    Corpus(corpus::Args),
    /// Losses of long runs in several formats, against those of another seed
    Curves(curves::Args),
    /// The entry's model on WikiText-103's test text, against the same model in PyTorch
    Evaluate(evaluate::Args),
    /// fo-pooling, against its bytes alone and a loop of tensor operations
    Pool(pool::Args),
    /// Training steps, against the same model in PyTorch
    Step(step::Args),
}

pub fn run(args: Args) -> Result<Output> {
    let json = args.json;
    match args.command {
        Command::Corpus(args) => corpus::run(args),
        Command::Curves(args) => curves::run(args, json),
        Command::Evaluate(args) => evaluate::run(args, json),
        Command::Pool(args) => pool::run(args, json),
        Command::Step(args) => step::run(args, json),
    }
}

/// Between which two the middle half lies.
fn middle_half(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    [last / 4, last - last / 4].map(|at| values.get(at).copied().unwrap_or_default())
}

/// The middle one; the lower middle one of an even number. 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}
