//! The arguments of `evaluate`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::command_line::parsers;
use qrnn::model::WIKITEXT103_VOCAB;

use crate::baselines::step::MODES;
use crate::baselines::{BaselineFlags, names};
use crate::device::DeviceFlags;
use crate::precision::PrecisionChoice;
use crate::report::RecordFlags;
use crate::shape;

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Folder with valid.txt and test.txt of WikiText-103 (or wiki.*.tokens) [default: random tokens]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Vocabulary size of the random tokens
    #[arg(long, value_parser = parsers::size, default_value_t = WIKITEXT103_VOCAB)]
    pub types: usize,
    /// Number of tokens of the test text to evaluate [default on a GPU: all]
    #[arg(long, value_parser = parsers::size, default_value_t = 14_000, default_value_if("device", "cuda", "245569"))]
    pub tokens: usize,
    /// Sizes of embedding and layers [default: those of the entry]
    #[arg(long, value_name = "EMSIZE-NHID", value_parser = shape::sizes)]
    pub model: Option<(usize, usize)>,
    /// First tokens of the softmax's tails [default: by the size of the vocabulary]
    #[arg(long, value_delimiter = ',')]
    pub splits: Option<Vec<usize>>,
    /// Precisions of matrix products: fp32, bf16, tf32 (GPUs only), or torch (torch's own, in fp32)
    #[arg(long, value_delimiter = ',', default_value = "fp32,bf16")]
    #[arg(default_value_if("device", "cuda", "fp32,tf32,bf16"))]
    pub formats: Vec<PrecisionChoice>,
    /// Window length in tokens; on a GPU, short windows of our model are combined [default on a GPU: 300]
    #[arg(long, value_parser = parsers::size, default_value_t = 140, default_value_if("device", "cuda", "300"))]
    pub bptt: usize,
    /// Number of measured runs of each implementation, interleaved
    #[arg(long, value_parser = parsers::positive::<u32>, default_value_t = 3)]
    pub runs: u32,
    /// PyTorch implementations to compare with
    #[arg(long, value_delimiter = ',', value_parser = names(&MODES), default_value = "fp32")]
    #[arg(default_value_if("device", "cuda", "published,tf32,tuned"))]
    pub peers: Vec<String>,
    #[command(flatten)]
    pub baseline_flags: BaselineFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    #[command(flatten)]
    pub device: DeviceFlags,
}
