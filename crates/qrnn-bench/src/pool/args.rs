//! The arguments of `pool`.

use clap::Args as ClapArgs;
use qrnn::command_line::numbers;

use crate::baselines::pooling::Method;
use crate::baselines::{BaselineFlags, Selection};
use crate::device::DeviceFlags;
use crate::report::RecordFlags;

/// Runs before the measurement.
pub const WARM_UP: u32 = 3;

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Sequence length [default: 140, on a GPU 300]
    #[arg(long, value_parser = numbers::positive::<i64>)]
    pub seq: Option<i64>,
    /// Batch size [default: 20, on a GPU 40]
    #[arg(long, value_parser = numbers::positive::<i64>)]
    pub batch: Option<i64>,
    /// Features [default: 1024, on a GPU 1800]
    #[arg(long, value_parser = numbers::positive::<i64>)]
    pub hidden: Option<i64>,
    /// Shapes on a GPU, SEQxBATCHxHIDDEN [default: the entry's batches, shorter ones, and one long
    /// sequence]
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["seq", "batch", "hidden"])]
    #[arg(default_value_if("device", "cuda", "300x40x1800,140x60x1800,16384x1x1800"))]
    pub cases: Vec<Size>,
    /// Number of measured runs of each implementation, interleaved [default on a GPU: 200, at most
    /// 40 for long sequences]
    #[arg(long, value_parser = numbers::positive::<u32>, default_value_t = 21)]
    #[arg(default_value_if("device", "cuda", "200"))]
    pub runs: u32,
    /// Implementations to compare with on a GPU: none, or some of published,hgrn,scan
    #[arg(long = "peers", default_value = "published,hgrn,scan")]
    pub baselines: Selection<Method>,
    #[command(flatten)]
    pub baseline_flags: BaselineFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    #[command(flatten)]
    pub device: DeviceFlags,
}

/// Sequence length, batch size and features.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub [i64; 3]);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<i64>> = text.split('x').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[seq, batch, hidden]) if [seq, batch, hidden].iter().all(|n| *n > 0) => {
                Ok(Self([seq, batch, hidden]))
            }
            _ => Err("write for example 300x40x1800".into()),
        }
    }
}

impl Args {
    /// The shapes to measure: those of `--cases`, unless `--seq`, `--batch` or `--hidden` is set.
    pub fn sizes(&self) -> Vec<Size> {
        let parts = [self.seq, self.batch, self.hidden];
        if parts.iter().all(Option::is_none) && !self.cases.is_empty() {
            return self.cases.clone();
        }
        let defaults = if self.device.is_cuda() { [300, 40, 1800] } else { [140, 20, 1024] };
        let part = |i: usize| parts[i].unwrap_or(defaults[i]);
        vec![Size([part(0), part(1), part(2)])]
    }
}
