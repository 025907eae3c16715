//! The arguments of `evaluate`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::command_line::numbers;

use crate::baselines::step::Mode;
use crate::baselines::{BaselineFlags, Selection};
use crate::device::DeviceFlags;
use crate::precision::PrecisionChoice;
use crate::report::RecordFlags;

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Folder with valid.txt and test.txt of WikiText-103 (or wiki.*.tokens)
    #[arg(long, default_value = "../shared/data/wikitext-103")]
    pub data: PathBuf,
    /// Number of tokens of the test text to evaluate [default on a GPU: all]
    #[arg(long, value_parser = numbers::size, default_value_t = 14_000, default_value_if("device", "cuda", "245569"))]
    pub tokens: usize,
    /// Precisions of matmuls: fp32, bf16, tf32 (GPUs only), or torch (torch's matmul in fp32)
    #[arg(long, value_delimiter = ',', default_value = "fp32,bf16")]
    #[arg(default_value_if("device", "cuda", "fp32,tf32,bf16"))]
    pub formats: Vec<PrecisionChoice>,
    /// Number of measured runs of each implementation, interleaved
    #[arg(long, value_parser = numbers::positive::<u32>, default_value_t = 3)]
    pub runs: u32,
    /// PyTorch implementations to compare with on a GPU: none, or some of published,tf32,tuned
    #[arg(long = "peers", default_value = "published,tf32,tuned")]
    pub baselines: Selection<Mode>,
    #[command(flatten)]
    pub baseline_flags: BaselineFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    /// Window length of the PyTorch baselines on a GPU, in tokens
    #[arg(long, value_parser = numbers::size, default_value_t = 300)]
    pub bptt: usize,
    /// Evaluate random tokens of a vocabulary of this size instead of a text, on a GPU
    #[arg(long, value_parser = numbers::size)]
    pub types: Option<usize>,
    /// First tokens of the softmax's tails, on a GPU
    #[arg(long, value_delimiter = ',')]
    pub splits: Option<Vec<usize>>,
    /// Sizes of embedding and layers, on a GPU
    #[arg(long, hide = true, value_name = "EMSIZE-NHID", value_parser = widths)]
    pub model: Option<(usize, usize)>,
    #[command(flatten)]
    pub device: DeviceFlags,
}

fn widths(text: &str) -> Result<(usize, usize), String> {
    let (emsize, nhid) = text.split_once('-').ok_or("write for example 300-1800")?;
    let size = |text: &str| {
        numbers::size(text).map_err(|range| format!("{text} is not a valid size: {range}"))
    };
    Ok((size(emsize)?, size(nhid)?))
}
