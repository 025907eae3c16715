//! The arguments of `evaluate`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::command_line::numbers;

use crate::baselines::step::Mode;
use crate::baselines::{Chosen, PeerFlags};
use crate::device::DeviceFlags;
use crate::precision::PrecisionChoice;
use crate::report::RecordFlags;

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Folder with valid.txt and test.txt of WikiText-103 (or wiki.*.tokens)
    #[arg(long, default_value = "../shared/data/wikitext-103")]
    pub data: PathBuf,
    /// Only the first words of the test text; on a card all
    #[arg(long, value_parser = numbers::size, default_value_t = 14_000, default_value_if("device", "cuda", "245569"))]
    pub tokens: usize,
    /// Formats of the matrix products: fp32, bf16, on a card tf32, or torch for torch's own in fp32
    #[arg(long, value_delimiter = ',', default_value = "fp32,bf16")]
    #[arg(default_value_if("device", "cuda", "fp32,tf32,bf16"))]
    pub formats: Vec<PrecisionChoice>,
    /// Times that each is measured, in turns
    #[arg(long, value_parser = numbers::positive::<u32>, default_value_t = 3)]
    pub runs: u32,
    /// PyTorch implementations to compare with on a GPU: none, or some of published,tf32,tuned
    #[arg(long, default_value = "published,tf32,tuned")]
    pub peers: Chosen<Mode>,
    #[command(flatten)]
    pub peer_flags: PeerFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    /// Words of PyTorch's windows on a card
    #[arg(long, value_parser = numbers::size, default_value_t = 300)]
    pub bptt: usize,
    /// Word types of ids that are made for a card, in place of a text
    #[arg(long, value_parser = numbers::size)]
    pub types: Option<usize>,
    /// First words of the softmax's tails, on a card
    #[arg(long, value_delimiter = ',')]
    pub splits: Option<Vec<usize>>,
    /// Another width of embedding and layers, on a card
    #[arg(long, hide = true, value_name = "EMSIZE-NHID", value_parser = widths)]
    pub model: Option<(usize, usize)>,
    #[command(flatten)]
    pub device: DeviceFlags,
}

fn widths(text: &str) -> Result<(usize, usize), String> {
    let (emsize, nhid) = text.split_once('-').ok_or("write for example 300-1800")?;
    let size =
        |text: &str| numbers::size(text).map_err(|range| format!("{text} is no width: {range}"));
    Ok((size(emsize)?, size(nhid)?))
}
