//! Rounds the inputs of matrix products to integers of few bits, times a step.
//!
//! Everything else stays in floating point: rounding the state in every time step would add up its errors.

use std::cell::RefCell;

use tch::{Kind, Tensor};

use crate::Result;

/// The grids of the inputs of all products.
///
/// Products are numbered: the linear maps of the layers, from first to last, the softmax, then the clusters that
/// have a projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Activations {
    /// Bits of an integer, with its sign; the grid is symmetric.
    pub bits: u32,
    /// The distance of two values of the grid, for each product.
    pub steps: Vec<f32>,
}

impl Activations {
    /// Grids of `bits` bits that cover the largest input of each product. Steps are powers of two, so that products of
    /// integers times one are exact in floating point.
    pub(crate) fn covering(bits: u32, largest: &[f64]) -> Self {
        let step = |&largest: &f64| {
            let step = largest.max(f64::from(f32::MIN_POSITIVE)) / f64::from(largest_integer(bits));
            2f32.powi(step.log2().ceil() as i32)
        };
        Self { bits, steps: largest.iter().map(step).collect() }
    }

    /// Rounds the input of a product, of any shape, to the nearest value of its grid; ties go to the even one.
    /// The gradient passes where the input is within the grid.
    fn round(&self, product: usize, x: &Tensor) -> Result<Tensor> {
        let Some(&step) = self.steps.get(product) else { return Ok(x.shallow_clone()) };
        let largest = i64::from(largest_integer(self.bits));
        let rounded = x.f_to_kind(Kind::Float)?.f_fake_quantize_per_tensor_affine(
            f64::from(step),
            0,
            -largest,
            largest,
        )?;
        Ok(rounded.f_to_kind(x.kind())?)
    }
}

fn largest_integer(bits: u32) -> i32 {
    (1 << (bits - 1)) - 1
}

/// What happens to the inputs of products.
#[derive(Debug)]
pub(super) enum InputRounding {
    /// They stay as they are.
    Off,
    /// They stay as they are; the largest absolute value of each product is kept.
    Observed(RefCell<Vec<f64>>),
    Rounded(Activations),
}

impl InputRounding {
    /// The input of a product, rounded if so.
    pub fn apply(&self, product: usize, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Off => {}
            Self::Rounded(activations) => return activations.round(product, x),
            Self::Observed(largest) => {
                let found = x.f_abs()?.f_max()?.f_double_value(&[])?;
                let mut largest = largest.borrow_mut();
                let products = largest.len().max(product + 1);
                largest.resize(products, 0.0);
                largest[product] = largest[product].max(found);
            }
        }
        Ok(x.shallow_clone())
    }

    pub fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_rounded_to_even_and_clamped() {
        let activations = Activations::covering(8, &[1.0, 0.3]);
        assert_eq!(activations.steps, [1.0 / 64.0, 1.0 / 256.0]);
        let grid = Activations { bits: 3, steps: vec![0.5] };
        let x = Tensor::from_slice(&[0.2f32, 0.25, 0.75, -0.8, 9.0, -9.0]).set_requires_grad(true);
        let rounded = grid.round(0, &x).unwrap();
        assert_eq!(Vec::<f32>::try_from(&rounded).unwrap(), [0.0, 0.0, 1.0, -1.0, 1.5, -1.5]);
        let gradient = &Tensor::run_backward(&[&rounded.sum(Kind::Float)], &[&x], false, false)[0];
        assert_eq!(Vec::<f32>::try_from(gradient).unwrap(), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn values_of_the_grid_stay() {
        let activations = Activations::covering(8, &[0.99]);
        let x = Tensor::from_slice(&[0.0f32, 1.0 / 128.0, -127.0 / 128.0]);
        assert_eq!(activations.round(0, &x).unwrap(), x);
    }

    #[test]
    fn the_largest_inputs_are_observed() {
        let observed = InputRounding::Observed(RefCell::default());
        for (product, x) in [(0, [0.1f32, -0.7]), (2, [0.3, 0.2]), (0, [0.5, 0.0])] {
            let x = Tensor::from_slice(&x);
            assert_eq!(observed.apply(product, &x).unwrap(), x);
        }
        let InputRounding::Observed(largest) = observed else { panic!() };
        let largest: Vec<f32> = largest.into_inner().iter().map(|&x| x as f32).collect();
        assert_eq!(largest, [0.7, 0.0, 0.3]);
    }
}
