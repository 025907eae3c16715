//! Benchmarks against alternatives in the same run: `cargo xtask bench step …`.

mod baselines;
mod compress;
mod corpus;
mod curves;
mod device;
mod evaluate;
mod group;
mod pool;
mod precision;
mod products;
mod python;
mod random_tokens;
mod report;
mod roofline;
mod shape;
mod stages;
mod statistics;
mod step;
mod subprocess;
mod text;
mod zipf;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use qrnn::command_line::{finish, print_clap_error};

/// Benchmarks this project against PyTorch, a loop of tensor operations, and the machine's limits.
#[derive(Debug, Parser)]
#[command(name = "qrnn-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object to standard output
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compressed models, compared with the entry in fp32 on the CPU
    Compress(compress::Args),
    /// Reading a text of WikiText-103's size, compared with Python
    Corpus(corpus::Args),
    /// Read a folder once: seconds and peak memory, which `corpus` runs as separate processes
    ReadCorpus(corpus::ReadOnce),
    /// Losses of long runs in several precisions, compared with another seed
    Curves(curves::Args),
    /// Evaluation of the entry's model on a test text, compared with PyTorch
    Evaluate(evaluate::Args),
    /// Sums over processes on this machine, and training by several processes, compared with one
    Group(group::Args),
    /// A process of a group that sums tensors, which `group` starts
    GroupSums(group::SumsArgs),
    /// A process that trains in turns, which `group` starts
    GroupTraining(group::TrainingArgs),
    /// fo-pooling, compared with memory bandwidth and other implementations
    Pool(pool::Args),
    /// Training steps, compared with PyTorch
    Step(step::Args),
    /// Peak memory of training steps, which `step` runs as separate processes on the CPU
    StepMemory(step::MemoryArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(print_clap_error(&error)),
    };
    qrnn::command_line::set_threads();
    let json = cli.json;
    let result = match cli.command {
        Command::Compress(args) => compress::run(&args, json),
        Command::Corpus(args) => corpus::run(&args, json),
        Command::ReadCorpus(args) => corpus::read_once(args),
        Command::Curves(args) => curves::run(&args, json),
        Command::Evaluate(args) => evaluate::run(&args, json),
        Command::Group(args) => group::run(&args, json),
        Command::GroupSums(args) => group::run_sums(&args),
        Command::GroupTraining(args) => group::run_training(&args),
        Command::Pool(args) => pool::run(&args, json),
        Command::Step(args) => step::run(&args, json),
        Command::StepMemory(args) => step::run_memory(&args),
    };
    ExitCode::from(finish(json, result))
}
