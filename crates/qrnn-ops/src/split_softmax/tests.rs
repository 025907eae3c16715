use proptest::prelude::*;

use super::*;
use crate::split_softmax::cpu::CHUNK;
use crate::split_softmax::{head_log_probabilities, log_probabilities, tail_log_probabilities};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn leaf(size: &[i64]) -> Tensor {
    Tensor::randn(size, DOUBLE).set_requires_grad(true)
}

fn weights(vocab: i64, width: i64, tails: i64) -> SoftmaxWeights {
    SoftmaxWeights {
        weights: vec![leaf(&[vocab, width])],
        bias: leaf(&[vocab]),
        tail: (tails > 0).then(|| (leaf(&[tails, width]), leaf(&[tails]))),
    }
}

/// Clusters of these widths, their weights, and hidden states of `width` features with their projections. A cluster
/// as wide as the hidden states has no projection.
fn adaptive(
    clusters: Clusters,
    width: i64,
    widths: &[i64],
    tokens: i64,
) -> (Clusters, SoftmaxWeights, Vec<Tensor>) {
    let clusters = clusters.adaptive(widths.iter().map(|w| *w < width).collect());
    let tails = clusters.tails() as i64;
    let sizes = (0..clusters.len()).map(|i| clusters.cluster(i).1 as i64);
    let weights = SoftmaxWeights {
        weights: sizes.zip(widths).map(|(size, w)| leaf(&[size, *w])).collect(),
        bias: leaf(&[clusters.vocab as i64]),
        tail: (tails > 0).then(|| (leaf(&[tails, width]), leaf(&[tails]))),
    };
    let projections = widths.iter().filter(|w| **w < width).map(|w| leaf(&[tokens, *w]));
    let hidden = [leaf(&[tokens, width])].into_iter().chain(projections).collect();
    (clusters, weights, hidden)
}

fn features(hidden: &[Tensor]) -> Vec<Features> {
    hidden.iter().map(|hidden| Features::of(&[hidden], None).unwrap()).collect()
}

/// [`super::mean_loss`] on the CPU.
fn mean_loss(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &[Tensor],
    tokens: &[i64],
    precision: Precision,
    upstream: UpstreamGrad,
) -> Tensor {
    let (hidden, targets) = (features(hidden), Targets::Host(tokens.into()));
    let computation = Computation { precision, operands: None };
    super::mean_loss(clusters, weights, &hidden, targets, computation, upstream).unwrap()
}

/// Reference: the loss from all log probabilities, by torch's operations.
fn reference(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &[Tensor],
    tokens: &[i64],
) -> Tensor {
    let states = |cluster: usize| &hidden[clusters.hidden_of(cluster)];
    let logits = |cluster: usize| {
        let (w, b) = weights.cluster(clusters, cluster).unwrap();
        states(cluster).linear(&w, Some(&b))
    };
    let tombstones = weights.tail.as_ref().map(|(w, b)| hidden[0].linear(w, Some(b)));
    let head =
        Tensor::cat(&[Some(logits(0)), tombstones].into_iter().flatten().collect::<Vec<_>>(), 1);
    let head = head.log_softmax(-1, None::<Kind>);
    let mut parts = vec![head.narrow(1, 0, clusters.head_size() as i64)];
    for k in 0..clusters.tails() {
        let within = logits(k + 1).log_softmax(-1, None::<Kind>);
        // Tail k, counted from 1, is the head's k-th class from the end.
        parts.push(within + head.select(1, -(k as i64 + 1)).unsqueeze(1));
    }
    Tensor::cat(&parts, 1).nll_loss(&Tensor::from_slice(tokens))
}

/// Compares loss and gradients with the reference in double precision.
fn check(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &[Tensor],
    seed: u16,
) -> std::result::Result<(), TestCaseError> {
    let (tokens, vocab) = (hidden[0].size()[0], clusters.vocab as i64);
    let targets: Vec<i64> = (0..tokens).map(|i| (i * i + i64::from(seed)) % vocab).collect();
    let (single, any) = (Precision::Single, UpstreamGrad::Any);
    let ours = mean_loss(clusters, weights, hidden, &targets, single, any);
    (&ours * 3.0).backward();
    let gradients = |clear: bool| -> Vec<Tensor> {
        let leaves = weights.tensors().into_iter().chain(hidden);
        leaves
            .map(|leaf| {
                let grad = leaf.grad();
                // Hidden states that no logit is a product with have no gradient.
                let copy = if grad.defined() { grad.copy() } else { leaf.zeros_like() };
                if clear && grad.defined() {
                    leaf.shallow_clone().zero_grad();
                }
                copy
            })
            .collect()
    };
    let first = gradients(true);
    let expected = reference(clusters, weights, hidden, &targets);
    (&expected * 3.0).backward();
    prop_assert!((ours.double_value(&[]) - expected.double_value(&[])).abs() < 1e-10);
    for (a, b) in first.iter().zip(gradients(false)) {
        prop_assert!((a - b).abs().max().double_value(&[]) < 1e-10);
    }
    let computation = Computation { precision: Precision::Single, operands: None };
    let targets = Targets::Host(targets);
    let sum = loss_sum(clusters, weights, &features(hidden), &targets, computation).unwrap();
    prop_assert!((sum / tokens as f64 - ours.double_value(&[])).abs() < 1e-10);
    Ok(())
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
        check(&clusters, &weights, &[leaf(&[tokens as i64, width])], seed)?;
    }

    /// Every choice of clusters with and without a projection.
    #[test]
    fn clusters_of_any_width_equal_full_log_probabilities(
        vocab in 8..40usize, width in 1..6i64, narrow in prop::collection::vec(1..6i64, 1..5),
        tokens in 1..30i64, seed: u16,
    ) {
        tch::manual_seed(i64::from(seed));
        let tails = narrow.len() - 1;
        let borders = (1..=tails).map(|k| k * vocab / (tails + 2)).collect();
        let widths: Vec<i64> = narrow.into_iter().map(|w| w.min(width)).collect();
        let (clusters, weights, hidden) =
            adaptive(Clusters::new(vocab, borders), width, &widths, tokens);
        check(&clusters, &weights, &hidden, seed)?;
    }
}

#[test]
fn probabilities_sum_to_one_and_are_those_of_the_clusters() {
    let clusters = Clusters::new(30, vec![5, 12, 20]);
    let shared = (clusters.clone(), weights(30, 4, 3), vec![leaf(&[7, 4])]);
    for (clusters, weights, hidden) in [
        shared,
        adaptive(clusters.clone(), 4, &[3, 2, 4, 1], 7),
        adaptive(clusters, 4, &[4, 4, 2, 2], 7),
    ] {
        let is_one = |log_p: &Tensor| {
            let sums = log_p.exp().sum_dim_intlist(1, false, None::<Kind>);
            (sums - 1.0).abs().max().double_value(&[]) < 1e-12
        };
        let log_p = log_probabilities(&clusters, &weights, &hidden).unwrap();
        assert!(is_one(&log_p) && log_p.size() == [7, 30]);
        let states = |cluster: usize| &hidden[clusters.hidden_of(cluster)];
        let head = head_log_probabilities(&clusters, &weights, &hidden[0], states(0)).unwrap();
        assert!(is_one(&head) && head.size() == [7, 5 + 3]);
        for k in 0..3 {
            let within = tail_log_probabilities(&clusters, &weights, states(k + 1), k).unwrap();
            let (first, size) = clusters.tail(k);
            assert!(is_one(&within) && within.size() == [7, size as i64]);
            let tail =
                log_p.narrow(1, first as i64, size as i64).logsumexp([1i64].as_slice(), false);
            assert!((tail - head.select(1, 5 + k as i64)).abs().max().double_value(&[]) < 1e-12);
        }
    }
}

#[test]
fn chunks_equal_one_softmax() {
    let vocab = CHUNK / 3 + 1; // two rows per chunk
    let options = (Kind::Float, Device::Cpu);
    let make = |size: &[i64]| (Tensor::randn(size, options) * 0.1).set_requires_grad(true);
    let weights = SoftmaxWeights {
        weights: vec![make(&[vocab as i64, 1])],
        bias: make(&[vocab as i64]),
        tail: None,
    };
    let clusters = Clusters::new(vocab, vec![]);
    let hidden = [make(&[5, 1])];
    let tokens = [0, 7, vocab as i64 - 1, 3, 3];
    let ours =
        mean_loss(&clusters, &weights, &hidden, &tokens, Precision::Single, UpstreamGrad::Any);
    ours.backward();
    let [weight] = &weights.weights[..] else { panic!("one weight") };
    let grad = weight.grad().copy();
    weight.shallow_clone().zero_grad();
    let expected = reference(&clusters, &weights, &hidden, &tokens);
    expected.backward();
    assert!((ours.double_value(&[]) - expected.double_value(&[])).abs() < 1e-5);
    assert!((grad - weight.grad()).abs().max().double_value(&[]) < 1e-7);
}

/// Numbers of rows that are and are not a multiple of `ROWS`, in every cluster.
#[test]
fn bf16_error_is_within_rounding_for_any_number_of_rows() {
    let clusters = Clusters::new(60, vec![20, 35]);
    for rows in [1, 31, 32, 33, 100] {
        tch::manual_seed(rows);
        let shared = (clusters.clone(), weights(60, 16, 2), vec![leaf(&[rows, 16])]);
        let wide_head = adaptive(clusters.clone(), 16, &[16, 8, 3], rows);
        let narrow_head = adaptive(clusters.clone(), 16, &[12, 8, 16], rows);
        for (clusters, weights, hidden) in [shared, wide_head, narrow_head] {
            check_bf16(&clusters, &weights, &hidden);
        }
    }
}

fn check_bf16(clusters: &Clusters, weights: &SoftmaxWeights, hidden: &[Tensor]) {
    let rows = hidden[0].size()[0];
    let tokens: Vec<i64> = (0..rows).map(|i| i * 7 % clusters.vocab as i64).collect();
    let exact = reference(clusters, weights, hidden, &tokens);
    let leaves: Vec<&Tensor> = weights.tensors().into_iter().chain(hidden).collect();
    let expected = Tensor::run_backward(&[&exact], &leaves, false, false);

    let float = |tensor: &Tensor| tensor.to_kind(Kind::Float).detach().set_requires_grad(true);
    let narrow = SoftmaxWeights {
        weights: weights.weights.iter().map(float).collect(),
        bias: float(&weights.bias),
        tail: weights.tail.as_ref().map(|(vectors, scalars)| (float(vectors), float(scalars))),
    };
    let hidden: Vec<Tensor> = hidden.iter().map(float).collect();
    let ours = mean_loss(clusters, &narrow, &hidden, &tokens, Precision::Bf16, UpstreamGrad::One);
    assert!((ours.double_value(&[]) / exact.double_value(&[]) - 1.0).abs() < 1e-2);
    let leaves: Vec<&Tensor> = narrow.tensors().into_iter().chain(&hidden).collect();
    for (ours, expected) in
        Tensor::run_backward(&[&ours], &leaves, false, false).iter().zip(&expected)
    {
        let error = ((ours - expected).norm() / expected.norm().clamp_min(1e-9)).double_value(&[]);
        assert!(error < 2e-2, "{rows} rows: {error}");
    }
}
