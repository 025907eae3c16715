//! The arguments of `pool`.

use clap::Args as ClapArgs;
use qrnn::command_line::numbers;

use crate::baselines::pooling::Method;
use crate::baselines::{Chosen, PeerFlags};
use crate::device::DeviceFlags;
use crate::report::RecordFlags;

/// Runs that are not counted.
pub const WARM_UP: u32 = 3;

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Time steps; 140, 300 on a card
    #[arg(long, value_parser = numbers::positive::<i64>)]
    pub seq: Option<i64>,
    /// Columns; 20, 40 on a card
    #[arg(long, value_parser = numbers::positive::<i64>)]
    pub batch: Option<i64>,
    /// Features; 1024, 1800 on a card
    #[arg(long, value_parser = numbers::positive::<i64>)]
    pub hidden: Option<i64>,
    /// Sizes on a card, SEQxBATCHxHIDDEN: where no size is given, the entry's windows, shorter ones, and
    /// one long column
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["seq", "batch", "hidden"])]
    #[arg(default_value_if("device", "cuda", "300x40x1800,140x60x1800,16384x1x1800"))]
    pub cases: Vec<Size>,
    /// Times that each is measured, in turns; 200 on a card, at most 40 of a long sequence
    #[arg(long, value_parser = numbers::positive::<u32>, default_value_t = 21)]
    #[arg(default_value_if("device", "cuda", "200"))]
    pub runs: u32,
    /// Implementations to compare with on a GPU: none, or some of published,hgrn,scan
    #[arg(long, default_value = "published,hgrn,scan")]
    pub peers: Chosen<Method>,
    #[command(flatten)]
    pub peer_flags: PeerFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    #[command(flatten)]
    pub device: DeviceFlags,
}

/// Time steps, columns and features.
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
    /// The sizes to measure: those of `--cases`, unless a part of one is given.
    pub fn sizes(&self) -> Vec<Size> {
        let parts = [self.seq, self.batch, self.hidden];
        if parts.iter().all(Option::is_none) && !self.cases.is_empty() {
            return self.cases.clone();
        }
        let others = if self.device.is_cuda() { [300, 40, 1800] } else { [140, 20, 1024] };
        let part = |i: usize| parts[i].unwrap_or(others[i]);
        vec![Size([part(0), part(1), part(2)])]
    }
}
