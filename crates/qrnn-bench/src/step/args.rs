//! The arguments of `step`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::command_line::numbers;
use qrnn::model::WIKITEXT103_VOCAB;

use crate::baselines::step::Mode;
use crate::baselines::{Chosen, PeerFlags};
use crate::device::DeviceFlags;
use crate::precision::PrecisionChoice;
use crate::report::RecordFlags;
use crate::shape::Shape;

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Folder with train.txt, valid.txt and test.txt; the embedded language where it is left out
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Models: emsize-nhid-plain or emsize-nhid-split
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "128-256-plain,128-256-split,300-1800-split",
        default_value_if("device", "cuda", "300-1800-split")
    )]
    pub models: Vec<Shape>,
    /// Formats of the matrix products: fp32, bf16, on a card tf32, or torch for torch's own in fp32
    #[arg(long, value_delimiter = ',', default_value = "fp32,bf16")]
    #[arg(default_value_if("device", "cuda", "bf16,tf32,fp32"))]
    pub formats: Vec<PrecisionChoice>,
    /// First words of the split softmax's tails
    #[arg(long, value_delimiter = ',', default_value = "2800,10000")]
    #[arg(default_value_if("device", "cuda", "2800,20000,76000"))]
    pub splits: Vec<usize>,
    /// Columns; 40 on a card
    #[arg(long, value_parser = numbers::size, default_value_t = 20, default_value_if("device", "cuda", "40"))]
    pub batch_size: usize,
    /// Words a column in one step; 300 on a card
    #[arg(long, value_parser = numbers::size, default_value_t = 70, default_value_if("device", "cuda", "300"))]
    pub bptt: usize,
    /// Steps of each side that are counted, in turns; 208 on a card
    #[arg(long, value_parser = numbers::positive::<u32>, default_value_t = 7)]
    #[arg(default_value_if("device", "cuda", "208"))]
    pub steps: u32,
    /// PyTorch implementations to compare with on a GPU: none, or some of published,tf32,tuned
    #[arg(long, default_value = "published,tf32,tuned")]
    pub peers: Chosen<Mode>,
    #[command(flatten)]
    pub peer_flags: PeerFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    /// Draw where the time of a step goes into this SVG
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Take the steps of ours alone, and tell the memory
    #[arg(long, hide = true)]
    pub alone: bool,
    /// Word types of the ids that are made for a card where --data is left out
    #[arg(long, value_parser = numbers::size, default_value_t = WIKITEXT103_VOCAB)]
    pub types: usize,
    #[command(flatten)]
    pub device: DeviceFlags,
}
