//! The arguments of `step` and `step-memory`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::command_line::parsers;

use crate::baselines::step::MODES;
use crate::baselines::{BaselineFlags, names};
use crate::device::DeviceFlags;
use crate::precision::PrecisionChoice;
use crate::report::RecordFlags;
use crate::shape::Shape;

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    #[command(flatten)]
    pub work: WorkFlags,
    /// Number of measured steps of each implementation, interleaved [default on a GPU: 208]
    #[arg(long, value_parser = parsers::positive::<u32>, default_value_t = 7)]
    #[arg(default_value_if("device", "cuda", "208"))]
    pub steps: u32,
    /// PyTorch implementations to compare with
    #[arg(long, value_delimiter = ',', value_parser = names(&MODES), default_value = "fp32,bf16")]
    #[arg(default_value_if("device", "cuda", "published,tf32,tuned"))]
    pub peers: Vec<String>,
    #[command(flatten)]
    pub baseline_flags: BaselineFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    /// Write a chart of the stages of a step to this SVG file
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct MemoryArgs {
    #[command(flatten)]
    pub work: WorkFlags,
    /// Number of steps
    #[arg(long, value_parser = parsers::positive::<u32>, default_value_t = 2)]
    pub steps: u32,
}

/// What a step computes.
#[derive(Debug, ClapArgs)]
pub struct WorkFlags {
    /// Folder with train.txt, valid.txt and test.txt [default: random tokens]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Vocabulary size of the random tokens [default on a GPU: 267735]
    #[arg(long, value_parser = parsers::size, default_value_t = 28_441)]
    #[arg(default_value_if("device", "cuda", "267735"))]
    pub types: usize,
    /// Models: emsize-nhid-plain or emsize-nhid-split
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "128-256-plain,128-256-split,300-1800-split",
        default_value_if("device", "cuda", "300-1800-split")
    )]
    pub models: Vec<Shape>,
    /// Precisions of matrix products: fp32, bf16, tf32 (GPUs only), or torch (torch's own, in fp32)
    #[arg(long, value_delimiter = ',', default_value = "fp32,bf16")]
    #[arg(default_value_if("device", "cuda", "bf16,tf32,fp32"))]
    pub formats: Vec<PrecisionChoice>,
    /// First tokens of the split softmax's tails
    #[arg(long, value_delimiter = ',', default_value = "2800,10000")]
    #[arg(default_value_if("device", "cuda", "2800,20000,76000"))]
    pub splits: Vec<usize>,
    /// Batch size [default on a GPU: 40]
    #[arg(long, value_parser = parsers::size, default_value_t = 20, default_value_if("device", "cuda", "40"))]
    pub batch_size: usize,
    /// Sequence length in tokens [default on a GPU: 300]
    #[arg(long, value_parser = parsers::size, default_value_t = 70, default_value_if("device", "cuda", "300"))]
    pub bptt: usize,
    #[command(flatten)]
    pub device: DeviceFlags,
}
