//! The loss of each target, where a sum is not enough.

use tch::Tensor;

use super::clusters::Clusters;
use super::cuda::CudaSoftmax;
use super::host::HostSoftmax;
use super::loss::{flat, options};
use super::targets::Targets;
use super::weights::{Computation, SoftmaxWeights};
use crate::Result;
use crate::matmul::Features;

/// The cross entropy of each target, (tokens) of kind Double on the device of `hidden`, in nats, without
/// gradients. Does not synchronize with a GPU.
///
/// * `hidden`: the hidden states, (tokens, E), then their projections, (tokens, width); augmented on a GPU.
///
/// # Errors
/// [`crate::Error::Torch`] if memory runs out or shapes do not match.
pub fn token_losses(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &[Features],
    targets: &Targets,
    computation: Computation<'_>,
) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let hidden = flat(hidden)?;
    let options = options(&hidden);
    match targets {
        Targets::Host(tokens) => {
            let softmax = HostSoftmax::new(clusters, weights, &hidden, computation.precision)?;
            Ok(Tensor::f_from_slice(&softmax.token_losses(tokens)?)?.f_to_device(options.1)?)
        }
        Targets::Device(targets) => {
            let softmax = CudaSoftmax::new(clusters, weights, options, computation)?;
            softmax.token_losses(&hidden, targets)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tch::{Device, Kind};

    use super::*;
    use crate::cuda::host_shim::as_on_a_gpu;
    use crate::matmul::Precision;
    use crate::split_softmax::{log_probabilities, loss_sum};

    const CPU: Device = Device::Cpu;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// On the CPU and by the CUDA source.
        #[test]
        fn each_loss_is_minus_the_log_probability_and_their_sum_is_loss_sum(
            vocab in 8..40i64, width in 1..6i64, tokens in 1..30usize, tails in 0..4usize, seed: u16,
        ) {
            tch::manual_seed(i64::from(seed));
            let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, CPU));
            let borders = (1..=tails).map(|k| k * vocab as usize / (tails + 2)).collect();
            let clusters = Clusters::new(vocab as usize, borders);
            let weights = SoftmaxWeights {
                weights: vec![random(&[vocab, width])],
                bias: random(&[vocab]),
                tail: (tails > 0).then(|| (random(&[tails as i64, width]), random(&[tails as i64]))),
            };
            let hidden = random(&[tokens as i64, width]);
            let ids: Vec<i64> = (0..tokens as i64).map(|i| (i * i + i64::from(seed)) % vocab).collect();
            let all = log_probabilities(&clusters, &weights, std::slice::from_ref(&hidden)).unwrap();
            let expected = -all.gather(1, &Tensor::from_slice(&ids).unsqueeze(1), false).squeeze_dim(1);
            let computation = Computation { precision: Precision::Single, operands: None };
            let check = || {
                let features = [Features::of(&[&hidden], None).unwrap()];
                let targets = Targets::of(&clusters, &ids, CPU).unwrap();
                let each = token_losses(&clusters, &weights, &features, &targets, computation).unwrap();
                let sum = loss_sum(&clusters, &weights, &features, &targets, computation).unwrap();
                (each, sum)
            };
            let (each, sum) = check();
            prop_assert!((each.sum(Kind::Double).double_value(&[]) - sum).abs() <= 1e-12 * sum);
            for (each, sum) in [(each, sum), as_on_a_gpu(check)] {
                prop_assert_eq!((each.kind(), each.size()), (Kind::Double, vec![tokens as i64]));
                prop_assert!((&each - &expected).abs().max().double_value(&[]) < 1e-4);
                prop_assert!((each.sum(Kind::Double).double_value(&[]) - sum).abs() <= 1e-6 * sum);
            }
        }
    }
}
