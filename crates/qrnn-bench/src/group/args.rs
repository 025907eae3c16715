//! The arguments of `group`, and of the processes that it starts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, ValueEnum};
use qrnn::command_line::parsers;
use qrnn_ops::process_group::{GlooOptions, GroupOptions};

use super::quiet::QuietFlags;
use crate::report::RecordFlags;
use crate::shape;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Sums of tensors over the processes
    Sums,
    /// Training steps of several processes, compared with those of one
    Training,
}

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sums,training")]
    pub parts: Vec<Part>,
    /// Number of processes
    #[arg(long, value_parser = parsers::in_range::<usize>(2..=64), default_value_t = 2)]
    pub ranks: usize,
    /// Threads of all processes together [default: one for each processor]
    #[arg(long, value_parser = parsers::in_range::<usize>(1..=1024))]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub sums: SumFlags,
    #[command(flatten)]
    pub training: TrainingFlags,
    /// Pairs of blocks: some steps by one process, as many by several
    #[arg(long, value_parser = parsers::positive::<u32>, default_value_t = 15)]
    pub pairs: u32,
    #[command(flatten)]
    pub quiet: QuietFlags,
    #[command(flatten)]
    pub record: RecordFlags,
}

impl Args {
    /// The threads of one process, and of each of several.
    pub fn threads(&self) -> [usize; 2] {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or_else(processors);
        [threads, (threads / self.ranks).max(1)]
    }
}

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct SumsArgs {
    #[command(flatten)]
    pub flags: SumFlags,
    #[command(flatten)]
    pub quiet: QuietFlags,
}

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct TrainingArgs {
    #[command(flatten)]
    pub flags: TrainingFlags,
    /// Steps of the whole run
    #[arg(long, value_parser = parsers::size)]
    pub all_steps: usize,
    /// Train without turns, and print the stages of all steps
    #[arg(long)]
    pub profiled: bool,
}

/// What is summed, and how.
#[derive(Debug, Clone, ClapArgs)]
pub struct SumFlags {
    /// Sizes of the tensors in MB (1,000,000 bytes)
    #[arg(long, value_delimiter = ',', value_parser = parsers::size, default_value = "420,100")]
    pub megabytes: Vec<usize>,
    /// Ways to sum: gloo's connections x pieces, or `memory`, by which processes read each other's memory. The first one is
    /// what the others are compared with
    #[arg(long, value_delimiter = ',', default_values_t = [C10D, SumWay::Gloo(GlooOptions::default()), SumWay::Memory])]
    pub ways: Vec<SumWay>,
    /// Number of measured runs of each, interleaved
    #[arg(long, value_parser = parsers::positive::<u32>, default_value_t = 5)]
    pub runs: u32,
    /// Sizes of embedding and layers of a model whose tensors are summed together
    #[arg(long, value_name = "EMSIZE-NHID", value_parser = shape::sizes, default_value = "300-1800")]
    pub summed_model: (usize, usize),
}

/// What is trained.
#[derive(Debug, Clone, ClapArgs)]
pub struct TrainingFlags {
    /// Folder with train.txt, valid.txt and test.txt [default: random tokens]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Vocabulary size of the random tokens
    #[arg(long, value_parser = parsers::size, default_value_t = 28_441)]
    pub types: usize,
    /// Sizes of embedding and layers
    #[arg(long, value_name = "EMSIZE-NHID", value_parser = shape::sizes, default_value = "128-256")]
    pub model: (usize, usize),
    /// Batch size, of all processes together
    #[arg(long, value_parser = parsers::size, default_value_t = 40)]
    pub batch_size: usize,
    /// Mean sequence length in tokens
    #[arg(long, value_parser = parsers::size, default_value_t = 70)]
    pub bptt: usize,
    /// Steps of a block
    #[arg(long, value_parser = parsers::size, default_value_t = 20)]
    pub steps: usize,
}

impl SumFlags {
    /// These flags for another process.
    pub fn to_args(&self) -> Vec<OsString> {
        let (emsize, nhid) = self.summed_model;
        arguments([
            ("--megabytes", joined(&self.megabytes)),
            ("--ways", joined(&self.ways)),
            ("--runs", self.runs.to_string()),
            ("--summed-model", format!("{emsize}-{nhid}")),
        ])
    }
}

impl QuietFlags {
    /// These flags for another process.
    pub fn to_args(self) -> Vec<OsString> {
        let Self { others, patience } = self;
        arguments([("--others", others.to_string()), ("--patience", patience.to_string())])
    }
}

impl TrainingFlags {
    /// These flags for another process.
    pub fn to_args(&self) -> Vec<OsString> {
        let (emsize, nhid) = self.model;
        let mut args = arguments([
            ("--types", self.types.to_string()),
            ("--model", format!("{emsize}-{nhid}")),
            ("--batch-size", self.batch_size.to_string()),
            ("--bptt", self.bptt.to_string()),
            ("--steps", self.steps.to_string()),
        ]);
        if let Some(data) = &self.data {
            args.extend(["--data".into(), data.into()]);
        }
        args
    }
}

fn arguments<const N: usize>(flags: [(&str, String); N]) -> Vec<OsString> {
    flags.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]).collect()
}

fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// What c10d does by default.
const C10D: SumWay = SumWay::Gloo(GlooOptions { connections: 1, pieces: 1 });

/// A way to sum, as a flag: `2x4` for 2 connections and 4 pieces, or `memory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumWay {
    Gloo(GlooOptions),
    /// Processes read each other's memory.
    Memory,
}

impl SumWay {
    /// Its name in the report.
    pub fn label(self) -> String {
        let Self::Gloo(GlooOptions { connections, pieces }) = self else {
            return "memory of the processes".into();
        };
        let s = |n: usize| if n == 1 { "" } else { "s" };
        let pieces = match pieces {
            1 => "not cut".to_owned(),
            n => format!("{n} pieces"),
        };
        format!("{connections} connection{}, {pieces}", s(connections))
    }

    pub fn options(self) -> GroupOptions {
        match self {
            Self::Gloo(gloo) => {
                GroupOptions { gloo, peer_memory: false, ..GroupOptions::default() }
            }
            Self::Memory => GroupOptions::default(),
        }
    }
}

impl std::fmt::Display for SumWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gloo(GlooOptions { connections, pieces }) => write!(f, "{connections}x{pieces}"),
            Self::Memory => write!(f, "{MEMORY}"),
        }
    }
}

/// The flag of [`SumWay::Memory`].
const MEMORY: &str = "memory";

impl FromStr for SumWay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == MEMORY {
            return Ok(Self::Memory);
        }
        let usage = "write for example 2x4, for 2 connections and 4 pieces, or memory";
        let (connections, pieces) = text.split_once('x').ok_or(usage)?;
        let number = |text| parsers::in_range(1..=64)(text).map_err(|_| usage.to_owned());
        let (connections, pieces) = (number(connections)?, number(pieces)?);
        Ok(Self::Gloo(GlooOptions { connections, pieces }))
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn parsed<T: FromArgMatches + ClapArgs>(args: &[OsString]) -> T {
        let words = [OsString::from("bench")].into_iter().chain(args.iter().cloned());
        let matches = T::augment_args(Command::new("bench")).try_get_matches_from(words);
        T::from_arg_matches(&matches.unwrap()).unwrap()
    }

    #[test]
    fn the_default_of_c10d_is_compared_with_ours() {
        let flags: Args = parsed(&[]);
        let ours = SumWay::Gloo(GlooOptions::default());
        assert_eq!(flags.sums.ways, [C10D, ours, SumWay::Memory]);
        let other = SumWay::from_str("2x4").unwrap();
        assert_eq!(other, SumWay::Gloo(GlooOptions { connections: 2, pieces: 4 }));
        assert_eq!(other.label(), "2 connections, 4 pieces");
        assert_eq!(C10D.label(), "1 connection, not cut");
        for wrong in ["2", "0x1", "2x", "1x65", "2x4x1"] {
            assert!(SumWay::from_str(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_processes_get_the_same_flags() {
        let words = [
            "--megabytes",
            "3,1",
            "--ways",
            "1x1,3x6,memory",
            "--runs",
            "2",
            "--summed-model",
            "8-12",
        ];
        let words = words.map(OsString::from);
        let quiet = ["--others", "0.25", "--patience", "3"].map(OsString::from);
        let sums: SumsArgs = parsed(&[&words[..], &quiet].concat());
        assert_eq!((sums.flags.to_args(), sums.quiet.to_args()), (words.to_vec(), quiet.to_vec()));
        let words = [
            "--types",
            "90",
            "--model",
            "8-12",
            "--batch-size",
            "4",
            "--bptt",
            "9",
            "--steps",
            "2",
        ];
        let words = [&words[..], &["--data", "a b"]].concat();
        let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        let all = [&words[..], &["--all-steps".into(), "6".into()]].concat();
        let training: TrainingArgs = parsed(&all);
        assert_eq!((training.flags.to_args(), training.all_steps), (words, 6));
    }

    #[test]
    fn threads_are_shared_out() {
        let threads = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            parsed::<Args>(&words).threads()
        };
        assert_eq!(threads(&["--threads", "9"]), [9, 4]);
        assert_eq!(threads(&["--threads", "2", "--ranks", "3"]), [2, 1]);
    }
}
