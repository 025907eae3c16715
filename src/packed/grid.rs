//! How weights become integers: a symmetric grid without zero point, so that 0 is exactly 0.

use serde::{Deserialize, Serialize};

/// Fewest bits of a code: values -1, 0 and 1.
pub const MIN_BITS: u32 = 2;

/// Most bits of a code.
pub const MAX_BITS: u32 = 8;

/// The largest entry of a codebook: entries are 8-bit integers, so that products are 8 bits wide.
pub(super) const MAX_ENTRY: i32 = 127;

/// From this many bits on, the scale covers the largest weight; below, clipping it costs less than it saves.
const BITS_WITHOUT_CLIPPING: u32 = 7;

/// Candidates of a clipped scale, as fractions of the one that covers the largest weight.
const CLIPS: [f32; 14] =
    [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35];

/// The values that a weight can have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grid {
    /// Multiples of a scale, from -(2^(b-1) - 1) to 2^(b-1) - 1.
    #[default]
    Integers,
    /// 2^b integers of 8 bits, chosen for the tensor, times a scale.
    Codebook,
}

/// What a scale belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalePer {
    Tensor,
    Row,
}

/// How a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Bits of a code, [`MIN_BITS`] to [`MAX_BITS`].
    pub bits: u32,
    pub grid: Grid,
    pub scale_per: ScalePer,
    /// Whether scales are powers of two, whose products are exact in floating point.
    pub power_of_two: bool,
    /// Rows of a block of the mask; blocks are one column wide. 1 masks single elements.
    pub block: usize,
}

impl Encoding {
    /// Integers of `bits` bits with one scale for the tensor.
    pub fn integers(bits: u32) -> Self {
        let (grid, scale_per) = (Grid::Integers, ScalePer::Tensor);
        Self { bits, grid, scale_per, power_of_two: false, block: 1 }
    }

    /// The largest integer of the grid; entries of a codebook are 8-bit integers, whatever the bits of codes.
    pub(crate) fn largest(&self) -> i32 {
        match self.grid {
            Grid::Integers => (1 << (self.bits - 1)) - 1,
            Grid::Codebook => MAX_ENTRY,
        }
    }

    /// Whether scales cover the largest weight; those of few bits clip it.
    pub(crate) fn covers_the_largest(&self) -> bool {
        self.grid == Grid::Codebook || self.bits >= BITS_WITHOUT_CLIPPING
    }

    /// The scale of these weights, the one with the least squared error; 1 if all are 0.
    pub(crate) fn scale(&self, weights: &[f32]) -> f32 {
        let largest = weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
        let covering = largest / self.largest() as f32;
        if !(covering.is_normal() && (1.0 / covering).is_finite()) {
            return 1.0;
        }
        let round = |scale: f32| if self.power_of_two { next_power_of_two(scale) } else { scale };
        if self.covers_the_largest() {
            return round(covering);
        }
        let error = |scale: f32| -> f64 {
            let error = |&weight: &f32| {
                let rounded = self.round(weight, 1.0 / scale) as f32 * scale;
                f64::from(weight - rounded).powi(2)
            };
            weights.iter().map(error).sum()
        };
        let candidates = CLIPS.map(|clip| round(covering * clip));
        let errors = candidates.map(error);
        let best = (0..CLIPS.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b]));
        candidates[best.unwrap_or(0)]
    }

    /// The integer of a weight; ties go to the even one.
    pub(crate) fn round(&self, weight: f32, inverse_scale: f32) -> i32 {
        let largest = self.largest() as f32;
        (weight * inverse_scale).round_ties_even().clamp(-largest, largest) as i32
    }
}

/// The smallest power of two that is not below a normal number.
fn next_power_of_two(scale: f32) -> f32 {
    let floor = f32::from_bits(scale.to_bits() & 0xff80_0000);
    if floor < scale { floor * 2.0 } else { floor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_rounded_up() {
        assert_eq!(
            [0.25, 0.26, 1.0, 1.5, 3e-30].map(next_power_of_two),
            [0.25, 0.5, 1.0, 2.0, 2f32.powi(-98)]
        );
    }

    #[test]
    fn the_grid_is_symmetric_and_covers_the_largest_weight() {
        let weights = [0.5, -1.27, 0.004, 0.0];
        let encoding = Encoding::integers(8);
        let scale = encoding.scale(&weights);
        assert!((scale - 0.01).abs() < 1e-9);
        let codes = weights.map(|weight| encoding.round(weight, 1.0 / scale));
        assert_eq!(codes, [50, -127, 0, 0]);
        assert_eq!(Encoding::integers(2).largest(), 1);
        assert_eq!(encoding.round(f32::MAX, 1.0), 127);
    }

    /// One weight far from the others costs little if it is clipped, and all resolution if it is not.
    #[test]
    fn few_bits_clip_outliers() {
        let mut weights: Vec<f32> = (0..1000).map(|i| (i % 13) as f32 / 13.0 - 0.45).collect();
        weights.push(1.3);
        let encoding = Encoding::integers(3);
        assert!(encoding.scale(&weights) < 1.3 / 3.0 * 0.7);
        assert!((Encoding::integers(8).scale(&weights) - 1.3 / 127.0).abs() < 1e-6);
    }

    #[test]
    fn zeros_have_scale_one() {
        assert_eq!(Encoding::integers(4).scale(&[0.0; 5]), 1.0);
        assert_eq!(Encoding::integers(8).scale(&[1e-44]), 1.0);
        assert_eq!(Encoding::integers(8).scale(&[]), 1.0);
    }
}
