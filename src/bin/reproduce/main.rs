//! `reproduce`: rebuilds the paper's table, or runs one of its steps.

mod cache_flags;
mod compress;
mod count;
mod data;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[cfg(not(test))] // the test harness has arguments of another kind
mod early;
mod evaluate;
mod generate;
mod group_flags;
mod model_flags;
mod plot;
mod preset;
mod report;
mod table;
mod table_results;
#[cfg(target_os = "linux")]
mod torch_on_path;
mod train;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use qrnn::command_line::{finish, print_clap_error};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Rebuilds the JAIST team's MicroNet Challenge entry: a QRNN language model on WikiText-103, reduced
/// from 153 M to 105 M parameters while its test perplexity stays under 35.
///
/// Without a subcommand: compares parameter and operation counts with the published ones, trains every
/// row of the experiment table and every sequence length of the figure at reduced scale on an embedded
/// synthetic language, and writes tables, plots and a report.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, allow_negative_numbers = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    table: table::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Count the parameters and operations of a model
    Count(count::Args),
    /// Prune and round a trained model, and count what it takes
    Compress(Box<compress::Args>),
    /// Train a model
    Train(Box<train::Args>),
    /// Train as a process of a group whose rank 0, for example a notebook, has the settings and the corpus
    Worker(worker::Args),
    /// Measure the perplexity of a trained model
    Evaluate(evaluate::Args),
    /// Generate text with a trained model
    Generate(generate::Args),
    /// Download a corpus, or show its statistics
    Data(data::Args),
    /// Plot the training curves of runs from their logs
    Plot(plot::Args),
    /// Gather the runs of tables into one table, plots and report
    Report(report::Args),
}

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    torch_on_path::use_torch_on_path();
    let args = match preset::expand(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => return ExitCode::from(finish(false, Err(error))),
    };
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(print_clap_error(&error)),
    };
    if !matches!(cli.command, Some(Command::Count(_))) {
        qrnn::command_line::set_threads();
    }
    let (json, result) = match cli.command {
        None => (cli.table.json, table::run(cli.table)),
        Some(Command::Count(args)) => (args.json, count::run(args)),
        Some(Command::Compress(args)) => (args.json, compress::run(*args)),
        Some(Command::Train(args)) => (args.json, train::run(*args)),
        Some(Command::Worker(args)) => (false, worker::run(args)),
        Some(Command::Evaluate(args)) => (args.json, evaluate::run(args)),
        Some(Command::Generate(args)) => (args.json, generate::run(args)),
        Some(Command::Data(args)) => (args.json, data::run(args)),
        Some(Command::Plot(args)) => (args.json, plot::run(args)),
        Some(Command::Report(args)) => (args.json, report::run(&args)),
    };
    ExitCode::from(finish(json, result))
}
