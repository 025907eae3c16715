//! `reproduce`: the paper's table, and each of its steps by itself.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[cfg(not(test))]
mod brought_torch;
mod count;
mod data;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[cfg(not(test))] // a test is started with arguments that are not the program's
mod early;
mod evaluate;
mod generate;
mod model_flags;
mod plot;
mod preset;
mod table;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use qrnn::command_line::{explain, finish};

/// Rebuilds the JAIST team's MicroNet-Challenge entry: a QRNN language model on WikiText-103,
/// squeezed from 153 M parameters to 105 M while its test perplexity stays under 35.
///
/// Without a subcommand: counts parameters and operations beside the published ones, trains every
/// row of the experiment table and every length of the figure at a reduced scale on a language made
/// in the program, and writes tables, plots and a report.
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
    /// Parameters and operations of a configuration
    Count(count::Args),
    /// Train a model
    Train(Box<train::Args>),
    /// Perplexity of a trained model
    Evaluate(evaluate::Args),
    /// Text from a trained model
    Generate(generate::Args),
    /// Look at a corpus
    Data(data::Args),
    /// Draw the curves of runs from their logs
    Plot(plot::Args),
}

fn main() -> ExitCode {
    let args = match preset::expand(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => return ExitCode::from(finish(false, Err(error))),
    };
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(said) => return ExitCode::from(explain(&said)),
    };
    if !matches!(cli.command, Some(Command::Count(_))) {
        qrnn::command_line::set_threads();
    }
    let (json, result) = match cli.command {
        None => (cli.table.json, table::run(cli.table)),
        Some(Command::Count(args)) => (args.json, count::run(args)),
        Some(Command::Train(args)) => (args.json, train::run(*args)),
        Some(Command::Evaluate(args)) => (args.json, evaluate::run(args)),
        Some(Command::Generate(args)) => (args.json, generate::run(args)),
        Some(Command::Data(args)) => (args.json, data::run(args)),
        Some(Command::Plot(args)) => (args.json, plot::run(args)),
    };
    ExitCode::from(finish(json, result))
}
