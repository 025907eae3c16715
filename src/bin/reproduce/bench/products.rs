//! Matrix products by themselves: what a step would take if it were nothing else.

use std::collections::HashMap;

use qrnn::Result;
use qrnn::matmul::Product;

use super::median;

/// All products of some steps.
pub struct Alone {
    /// Sum of the median times.
    pub seconds: f64,
    /// Multiplications and additions.
    pub operations: f64,
}

/// Runs each shape among `products` by itself: medians of `runs`, times how often it was met.
pub fn alone(products: &[Product], runs: usize) -> Result<Alone> {
    let mut times: HashMap<Product, usize> = HashMap::new();
    for product in products {
        *times.entry(*product).or_default() += 1;
    }
    let mut all = Alone { seconds: 0.0, operations: 0.0 };
    for (product, times) in times {
        // The first finds its memory not yet there.
        let seconds = product.again(runs + 1)?.split_off(1);
        all.seconds += median(seconds) * times as f64;
        all.operations += product.operations() * times as f64;
    }
    Ok(all)
}
