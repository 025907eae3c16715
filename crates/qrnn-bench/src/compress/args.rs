//! The arguments of `compress`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use qrnn::command_line::parsers;
use qrnn::model::WIKITEXT103_VOCAB;

use crate::report::RecordFlags;
use crate::shape;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// One product of a layer
    Products,
    /// Words per second of generation
    Generate,
    /// Evaluation in one column
    Evaluate,
}

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "products,generate,evaluate")]
    pub parts: Vec<Part>,
    /// Number of threads
    #[arg(long, value_parser = parsers::positive::<i32>, default_value_t = 1)]
    pub threads: i32,
    /// Copies of the weights of a product, which take turns so that they are not in a cache
    #[arg(long, value_parser = parsers::size, default_value_t = 12)]
    pub copies: usize,
    /// Sizes of embedding and layers [default: those of the entry]
    #[arg(long, value_name = "EMSIZE-NHID", value_parser = shape::sizes)]
    pub model: Option<(usize, usize)>,
    /// Vocabulary size of the models
    #[arg(long, value_parser = parsers::size, default_value_t = WIKITEXT103_VOCAB)]
    pub types: usize,
    /// Words that each model generates in a run
    #[arg(long, value_parser = parsers::size, default_value_t = 40)]
    pub words: usize,
    /// Random tokens to evaluate
    #[arg(long, value_parser = parsers::size, default_value_t = 2_241)]
    pub tokens: usize,
    /// Evaluate this whole text in place of random tokens, its words numbered by first appearance
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Also write the compressed models into this folder, in a folder of their name each
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Number of measured runs of each implementation, interleaved
    #[arg(long, value_parser = parsers::positive::<u32>, default_value_t = 3)]
    pub runs: u32,
    #[command(flatten)]
    pub record: RecordFlags,
}
