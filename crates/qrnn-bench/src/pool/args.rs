//! The arguments of `pool`.

use clap::Args as ClapArgs;
use qrnn::command_line::parsers;

use crate::baselines::pooling::METHODS;
use crate::baselines::{BaselineFlags, names};
use crate::device::DeviceFlags;
use crate::report::RecordFlags;

/// Sequence length, batch size and features.
pub type Size = [i64; 3];

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Sequence length [default: 140, on a GPU 300]
    #[arg(long, value_parser = parsers::positive::<i64>)]
    seq: Option<i64>,
    /// Batch size [default: 20, on a GPU 40]
    #[arg(long, value_parser = parsers::positive::<i64>)]
    batch: Option<i64>,
    /// Features [default: 1024, on a GPU 1800]
    #[arg(long, value_parser = parsers::positive::<i64>)]
    hidden: Option<i64>,
    /// Shapes, SEQxBATCHxHIDDEN [default on a GPU: the entry's batches, shorter ones, and one long sequence]
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["seq", "batch", "hidden"])]
    #[arg(value_parser = size, default_value = "140x20x1024")]
    #[arg(default_value_if("device", "cuda", "300x40x1800,140x60x1800,16384x1x1800"))]
    cases: Vec<Size>,
    /// Number of measured runs of each implementation, interleaved, at most 40 for long sequences
    /// [default on a GPU: 200]
    #[arg(long, value_parser = parsers::positive::<u32>, default_value_t = 21)]
    #[arg(default_value_if("device", "cuda", "200"))]
    pub runs: u32,
    /// Implementations in Python to compare with
    #[arg(long, value_delimiter = ',', value_parser = names(&METHODS), default_value = "none")]
    #[arg(default_value_if("device", "cuda", "published,hgrn,scan"))]
    pub peers: Vec<String>,
    #[command(flatten)]
    pub baseline_flags: BaselineFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    #[command(flatten)]
    pub device: DeviceFlags,
}

fn size(text: &str) -> Result<Size, String> {
    let numbers: Option<Vec<i64>> = text.split('x').map(|part| part.parse().ok()).collect();
    let size = numbers.and_then(|numbers| Size::try_from(numbers).ok());
    size.filter(|size| size.iter().all(|n| *n > 0))
        .ok_or_else(|| "write for example 300x40x1800".into())
}

impl Args {
    /// The shapes to measure: those of `--cases`, unless `--seq`, `--batch` or `--hidden` is set.
    pub fn sizes(&self) -> Vec<Size> {
        let parts = [self.seq, self.batch, self.hidden];
        match self.cases.first() {
            Some(default) if parts.iter().any(Option::is_some) => {
                vec![[0, 1, 2].map(|i| parts[i].unwrap_or(default[i]))]
            }
            _ => self.cases.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::parsed;

    #[test]
    fn default_shapes_are_those_of_the_entry_on_a_gpu() {
        let sizes = |words: &[&str]| parsed::<Args>(words).sizes();
        let entry = vec![[300, 40, 1800], [140, 60, 1800], [16_384, 1, 1800]];
        assert_eq!(sizes(&["--device", "cuda"]), entry);
        assert_eq!(sizes(&["--device", "cuda", "--hidden", "7"]), [[300, 40, 7]]);
        assert_eq!(sizes(&["--device", "cuda", "--cases", "2x3x4,5x6x7"]), [[2, 3, 4], [5, 6, 7]]);
        assert_eq!(sizes(&[]), [[140, 20, 1024]]);
        assert_eq!(sizes(&["--seq", "9"]), [[9, 20, 1024]]);
        for wrong in ["2x3", "2x3x0", "2x3xa", "1x2x3x4"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
