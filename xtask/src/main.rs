//! Set-up, checks and chores of the workspace: `cargo xtask help`.

mod cargo;
mod commands;
mod cuda_dry_run;
mod docs;
mod error;
mod generated;
mod gpu_pack;
mod jupyter;
mod layers;
mod process;
mod release;
mod setup;
mod terminal;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::error::Error;

/// Set-up, checks and chores of the qrnn workspace. Commands that build install libtorch first.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let cli =
        Cli::try_parse_from(passed_on_untouched(std::env::args_os())).unwrap_or_else(|error| {
            if error.kind() == ErrorKind::InvalidSubcommand {
                // List the commands for a user who mistyped one.
                terminal::note(Cli::command().render_help());
            }
            error.exit()
        });
    let Err(error) = cli.command.run() else { return ExitCode::SUCCESS };
    if !matches!(error, Error::Child(_)) {
        terminal::note(format_args!("error: {error}"));
    }
    error.status().into()
}

/// Puts `--` before the arguments for another program, so that clap leaves them, `--help` too, to it.
fn passed_on_untouched(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|name| name == "reproduce" || name == "bench" || name == "test") {
        args.insert(2, "--".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> commands::Command {
        let args = std::iter::once("xtask").chain(args.iter().copied()).map(OsString::from);
        Cli::try_parse_from(passed_on_untouched(args)).unwrap().command
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_reach_the_other_program_as_they_are() {
        let commands::Command::Test { args } = parse(&["test", "--", "--nocapture"]) else {
            panic!()
        };
        for tests in commands::tests(args) {
            assert_eq!(tests[0], "test");
            assert_eq!(tests[tests.len() - 2..], ["--", "--nocapture"]);
        }
        for call in [&["reproduce", "--help"][..], &["reproduce", "--", "--help"]] {
            let commands::Command::Reproduce { args } = parse(call) else { panic!() };
            let expected = ["run", "--release", "--bin", "reproduce", "--", "--help"];
            assert_eq!(commands::reproduce(args), expected);
        }
        let commands::Command::Bench { args } = parse(&["bench", "step", "--json"]) else {
            panic!()
        };
        let expected = ["run", "--release", "--package", "qrnn-bench", "--", "step", "--json"];
        assert_eq!(commands::bench(args), expected);
    }

    #[test]
    fn no_command_and_an_unknown_one_are_wrong_calls() {
        for args in [&["xtask"][..], &["xtask", "no-such-command"], &["xtask", "setup", "--no"]] {
            assert_eq!(Cli::try_parse_from(args).unwrap_err().exit_code(), 2);
        }
    }
}
