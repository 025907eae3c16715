use proptest::prelude::*;
use tch::Device;

use super::*;
use crate::split_softmax::cpu::CHUNK;

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn leaf(size: &[i64]) -> Tensor {
    Tensor::randn(size, DOUBLE).set_requires_grad(true)
}

fn weights(vocab: i64, width: i64, tails: i64) -> SoftmaxWeights {
    SoftmaxWeights {
        weight: leaf(&[vocab, width]),
        bias: leaf(&[vocab]),
        tail: (tails > 0).then(|| (leaf(&[tails, width]), leaf(&[tails]))),
    }
}

/// [`super::mean_loss`] on the CPU.
fn mean_loss(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &Tensor,
    tokens: &[i64],
    precision: Precision,
    upstream: UpstreamGrad,
) -> Tensor {
    let (hidden, targets) = (Features::of(&[hidden], None).unwrap(), Targets::Host(tokens.into()));
    let computation = Computation { precision, operand: None };
    super::mean_loss(clusters, weights, &hidden, targets, computation, upstream).unwrap()
}

/// Reference: the loss from all log probabilities, by torch's operations.
fn reference(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &Tensor,
    tokens: &[i64],
) -> Tensor {
    let softmax = |w: Tensor, b: Tensor| hidden.linear(&w, Some(&b)).log_softmax(-1, None::<Kind>);
    let (w, b) = weights.head(clusters).unwrap();
    let head = softmax(w, b);
    let mut parts = vec![head.narrow(1, 0, clusters.head_size() as i64)];
    for k in 0..clusters.tails() {
        let (w, b) = weights.tail(clusters, k).unwrap();
        // Tail k, counted from 1, is the head's k-th class from the end.
        parts.push(softmax(w, b) + head.select(1, -(k as i64 + 1)).unsqueeze(1));
    }
    Tensor::cat(&parts, 1).nll_loss(&Tensor::from_slice(tokens))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equals_full_log_probabilities_in_value_and_gradient(
        vocab in 8..40i64, width in 1..6i64, tokens in 1..30usize, tails in 0..4usize, seed: u16,
    ) {
        tch::manual_seed(i64::from(seed));
        let borders = (1..=tails).map(|k| k * vocab as usize / (tails + 2)).collect();
        let clusters = Clusters::new(vocab as usize, borders);
        let weights = weights(vocab, width, tails as i64);
        let hidden = leaf(&[tokens as i64, width]);
        let targets: Vec<i64> = (0..tokens as i64).map(|i| (i * i + i64::from(seed)) % vocab).collect();

        let ours = mean_loss(&clusters, &weights, &hidden, &targets, Precision::Single, UpstreamGrad::Any);
        (&ours * 3.0).backward();
        let gradients = |clear: bool| -> Vec<Tensor> {
            let mut leaves = weights.tensors();
            leaves.push(&hidden);
            leaves.into_iter().map(|leaf| {
                let grad = leaf.grad().copy();
                if clear { leaf.shallow_clone().zero_grad(); }
                grad
            }).collect()
        };
        let first = gradients(true);
        let expected = reference(&clusters, &weights, &hidden, &targets);
        (&expected * 3.0).backward();
        prop_assert!((ours.double_value(&[]) - expected.double_value(&[])).abs() < 1e-10);
        for (a, b) in first.iter().zip(gradients(false)) {
            prop_assert!((a - b).abs().max().double_value(&[]) < 1e-10);
        }
        let computation = Computation { precision: Precision::Single, operand: None };
        let (hidden, targets) = (Features::of(&[&hidden], None).unwrap(), Targets::Host(targets));
        let sum = loss_sum(&clusters, &weights, &hidden, &targets, computation).unwrap();
        prop_assert!((sum / tokens as f64 - ours.double_value(&[])).abs() < 1e-10);
    }
}

#[test]
fn probabilities_sum_to_one() {
    let clusters = Clusters::new(30, vec![5, 12, 20]);
    let weights = weights(30, 4, 3);
    let log_p = log_probabilities(&clusters, &weights, &leaf(&[7, 4])).unwrap();
    let sums = log_p.exp().sum_dim_intlist(1, false, None::<Kind>);
    assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-12);
}

#[test]
fn chunks_equal_one_softmax() {
    let vocab = CHUNK / 3 + 1; // two rows per chunk
    let options = (Kind::Float, Device::Cpu);
    let make = |size: &[i64]| (Tensor::randn(size, options) * 0.1).set_requires_grad(true);
    let weights = SoftmaxWeights {
        weight: make(&[vocab as i64, 1]),
        bias: make(&[vocab as i64]),
        tail: None,
    };
    let clusters = Clusters::new(vocab, vec![]);
    let hidden = make(&[5, 1]);
    let tokens = [0, 7, vocab as i64 - 1, 3, 3];
    let ours =
        mean_loss(&clusters, &weights, &hidden, &tokens, Precision::Single, UpstreamGrad::Any);
    ours.backward();
    let grad = weights.weight.grad().copy();
    weights.weight.shallow_clone().zero_grad();
    let expected = reference(&clusters, &weights, &hidden, &tokens);
    expected.backward();
    assert!((ours.double_value(&[]) - expected.double_value(&[])).abs() < 1e-5);
    assert!((grad - weights.weight.grad()).abs().max().double_value(&[]) < 1e-7);
}

/// Numbers of rows that are and are not a multiple of `ROWS`, in every cluster.
#[test]
fn bf16_error_is_within_rounding_for_any_number_of_rows() {
    let (vocab, width) = (60, 16);
    let clusters = Clusters::new(60, vec![20, 35]);
    for rows in [1, 31, 32, 33, 100] {
        tch::manual_seed(rows);
        let weights = weights(vocab, width, 2);
        let hidden = leaf(&[rows, width]);
        let tokens: Vec<i64> = (0..rows).map(|i| i * 7 % vocab).collect();
        let exact = reference(&clusters, &weights, &hidden, &tokens);
        let mut leaves = weights.tensors();
        leaves.push(&hidden);
        let expected = Tensor::run_backward(&[&exact], &leaves, false, false);

        let float = |tensor: &Tensor| tensor.to_kind(Kind::Float).detach().set_requires_grad(true);
        let (vectors, scalars) = weights.tail.as_ref().unwrap();
        let narrow = SoftmaxWeights {
            weight: float(&weights.weight),
            bias: float(&weights.bias),
            tail: Some((float(vectors), float(scalars))),
        };
        let hidden = float(&hidden);
        let ours =
            mean_loss(&clusters, &narrow, &hidden, &tokens, Precision::Bf16, UpstreamGrad::One);
        assert!((ours.double_value(&[]) / exact.double_value(&[]) - 1.0).abs() < 1e-2);
        let mut leaves = narrow.tensors();
        leaves.push(&hidden);
        for (ours, expected) in
            Tensor::run_backward(&[&ours], &leaves, false, false).iter().zip(&expected)
        {
            let error = ((ours - expected).norm() / expected.norm()).double_value(&[]);
            assert!(error < 2e-2, "{rows} rows: {error}");
        }
    }
}
