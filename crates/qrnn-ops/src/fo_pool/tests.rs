use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::*;

fn dropout(mask: &Tensor) -> FoPoolOptions {
    FoPoolOptions { dropout: Some(mask.shallow_clone()), ..FoPoolOptions::default() }
}

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Reference: the equations as a loop of tensor operations over time.
fn time_loop(gates: &Tensor, initial_state: &Tensor, zoneout: &Tensor) -> Pooled {
    let gates = gates.chunk(3, 2);
    let (z, f, o) = (gates[0].tanh(), gates[1].sigmoid() * zoneout, gates[2].sigmoid());
    let mut c = initial_state.shallow_clone();
    let mut h = vec![];
    for t in 0..f.size()[0] {
        let f = f.get(t);
        c = &f * z.get(t) + (1.0 - &f) * c;
        h.push(o.get(t) * &c);
    }
    Pooled { output: Tensor::stack(&h, 0), state: c }
}

/// A scalar that weights every output element differently.
fn score(pooled: &Pooled) -> Tensor {
    let weights =
        |t: &Tensor| Tensor::arange(t.numel() as i64, (t.kind(), Device::Cpu)).sin().view_as(t) * t;
    weights(&pooled.output).sum(Kind::Double) + weights(&pooled.state).sum(Kind::Double)
}

/// Zoneout options with the factor of the forget gate that each stands for.
fn zoneouts(size: [i64; 3], kind: Kind) -> Vec<(Zoneout, Tensor)> {
    let options = (kind, Device::Cpu);
    let mask = Tensor::rand(size, options).gt(0.3).to_kind(kind);
    vec![
        (Zoneout::Off, Tensor::ones(size, options)),
        (Zoneout::Scaled(0.7), Tensor::ones(size, options) * 0.7),
        (Zoneout::Masked(mask.shallow_clone()), mask),
    ]
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().to_kind(Kind::Double).double_value(&[])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn equals_the_time_loop_forward_and_backward(
        seq in 1..9i64, batch in 1..5i64, hidden in prop_oneof![1..40i64, 500..530i64],
    ) {
        for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 2e-5)] {
            let options = (kind, Device::Cpu);
            for (zoneout, factor) in zoneouts([seq, batch, hidden], kind) {
                let gates = || Tensor::randn([seq, batch, 3 * hidden], options) * 2.0;
                let leaf = |t: &Tensor| t.copy().set_requires_grad(true);
                let (gates, initial_state) = (gates(), Tensor::randn([batch, hidden], options));
                let (g1, b1) = (leaf(&gates), leaf(&initial_state));
                let (g2, b2) = (leaf(&gates), leaf(&initial_state));
                let ours = fo_pool(&g1, &b1, zoneout.into()).unwrap();
                let expected = time_loop(&g2, &b2, &factor);
                score(&ours).backward();
                score(&expected).backward();
                for (a, b) in [
                    (&ours.output, &expected.output),
                    (&ours.state, &expected.state),
                    (&g1.grad(), &g2.grad()),
                    (&b1.grad(), &b2.grad()),
                ] {
                    let difference = largest_difference(a, b);
                    prop_assert!(difference <= tolerance, "{kind:?}: {difference:e}");
                }
            }
        }
    }
}

/// Gradients of z, f, o and the initial state against central differences, in double precision.
#[test]
fn gradients_equal_finite_differences() {
    let (seq, batch, hidden) = (5, 2, 3);
    tch::manual_seed(1);
    let gates = Tensor::randn([seq, batch, 3 * hidden], DOUBLE).set_requires_grad(true);
    let initial_state = Tensor::randn([batch, hidden], DOUBLE).set_requires_grad(true);
    for (zoneout, factor) in zoneouts([seq, batch, hidden], Kind::Double) {
        let zoneout = || match &zoneout {
            Zoneout::Off => Zoneout::Off,
            Zoneout::Scaled(scale) => Zoneout::Scaled(*scale),
            Zoneout::Masked(_) => Zoneout::Masked(factor.shallow_clone()),
        };
        let value = || score(&fo_pool(&gates, &initial_state, zoneout().into()).unwrap());
        let (mut gates, mut initial_state) = (gates.shallow_clone(), initial_state.shallow_clone());
        gates.zero_grad();
        initial_state.zero_grad();
        value().backward();
        for leaf in [&gates, &initial_state] {
            let _no_grad = tch::no_grad_guard();
            let (flat, grad) = (leaf.view(-1), leaf.grad().view(-1));
            for i in 0..leaf.numel() as i64 {
                let step = 1e-6;
                let at = |delta: f64| {
                    let _ = flat.get(i).g_add_scalar_(delta);
                    let value = value().double_value(&[]);
                    let _ = flat.get(i).g_add_scalar_(-delta);
                    value
                };
                let numeric = (at(step) - at(-step)) / (2.0 * step);
                let error = (numeric - grad.double_value(&[i])).abs();
                assert!(error <= 1e-8, "{:?}, element {i}: {error:e}", zoneout());
            }
        }
    }
}

#[test]
fn strided_tensors_equal_contiguous_ones() {
    let gates = Tensor::randn([4, 6, 7], DOUBLE).permute([2, 0, 1]); // (7, 4, 6), not contiguous
    let initial_state = Tensor::randn([2, 4], DOUBLE).tr();
    let ours = fo_pool(&gates, &initial_state, FoPoolOptions::default()).unwrap();
    let expected =
        fo_pool(&gates.contiguous(), &initial_state.contiguous(), FoPoolOptions::default())
            .unwrap();
    assert_eq!(ours.output, expected.output);
}

/// Sizes that use nontemporal stores, with rows aligned to cache lines, to 16 bytes, and to neither;
/// several tiles per column; elements after the last full group.
#[test]
fn large_tensors_equal_the_time_loop() {
    for (kind, hidden, tolerance) in [
        (Kind::Float, 3008, 2e-5),
        (Kind::Float, 3004, 2e-5),
        (Kind::Float, 3001, 2e-5),
        (Kind::Double, 1503, 1e-12),
    ] {
        let options = (kind, Device::Cpu);
        let size = [30, 16, hidden];
        let gates = Tensor::randn([30, 16, 3 * hidden], options);
        assert!(gates.numel() * kind.elt_size_in_bytes() > 16 << 20);
        let leaf = |t: &Tensor| t.copy().set_requires_grad(true);
        let (ours, reference) = (leaf(&gates), leaf(&gates));
        let initial_state = Tensor::randn([16, hidden], options);
        let mask = Tensor::rand(size, options).gt(0.3).to_kind(kind);
        let dropout = Tensor::rand([16, hidden], options).gt(0.4).to_kind(kind) * 1.5;
        let zoneout = Zoneout::Masked(mask.shallow_clone());
        let pooled = fo_pool(
            &ours,
            &initial_state,
            FoPoolOptions { zoneout, dropout: Some(dropout.shallow_clone()) },
        )
        .unwrap();
        let mut expected = time_loop(&reference, &initial_state, &mask);
        expected.output *= dropout;
        score(&pooled).backward();
        score(&expected).backward();
        for (a, b) in [
            (&pooled.output, &expected.output),
            (&pooled.state, &expected.state),
            (&ours.grad(), &reference.grad()),
        ] {
            let difference = largest_difference(a, b);
            assert!(difference <= tolerance, "{kind:?}, {hidden}: {difference:e}");
        }
    }
}

#[test]
fn batches_with_carried_state_equal_one_long_batch() {
    let gates = Tensor::randn([10, 3, 12], FLOAT);
    let initial_state = Tensor::zeros([3, 4], FLOAT);
    let whole = fo_pool(&gates, &initial_state, FoPoolOptions::default()).unwrap();
    let first = fo_pool(&gates.narrow(0, 0, 6), &initial_state, FoPoolOptions::default()).unwrap();
    let second = fo_pool(&gates.narrow(0, 6, 4), &first.state, FoPoolOptions::default()).unwrap();
    assert_eq!(Tensor::cat(&[first.output, second.output], 0), whole.output);
    assert_eq!(second.state, whole.state);
}

#[test]
fn a_nan_gate_gives_a_single_nan_output() {
    let gates = Tensor::zeros([2, 1, 6], FLOAT);
    let _ = gates.get(1).get(0).get(0).fill_(f64::NAN);
    let pooled = fo_pool(&gates, &Tensor::zeros([1, 2], FLOAT), FoPoolOptions::default()).unwrap();
    let nans: Vec<bool> = Vec::try_from(pooled.output.isnan().view(-1)).unwrap();
    assert_eq!(nans, [false, false, true, false]);
}

#[test]
fn mismatched_tensors_are_rejected() {
    let gates = Tensor::zeros([2, 3, 12], FLOAT);
    let state = |size: [i64; 2]| Tensor::zeros(size, FLOAT);
    let cases = [
        fo_pool(&gates, &state([3, 5]), FoPoolOptions::default()),
        fo_pool(&gates.get(0), &state([3, 4]), FoPoolOptions::default()),
        fo_pool(&gates.to_kind(Kind::Int64), &state([3, 4]), FoPoolOptions::default()),
        fo_pool(&gates, &state([3, 4]).to_kind(Kind::Double), FoPoolOptions::default()),
        fo_pool(&gates, &state([3, 4]), Zoneout::Masked(Tensor::zeros([2, 3, 5], FLOAT)).into()),
    ];
    for case in cases {
        assert!(matches!(case, Err(Error::Shape { .. })), "{case:?}");
    }
}

#[test]
fn locked_dropout_multiplies_every_step() {
    let (gates, initial_state) = (Tensor::randn([6, 2, 12], DOUBLE), Tensor::randn([2, 4], DOUBLE));
    let mask = Tensor::rand([1, 2, 4], DOUBLE).gt(0.4).to_kind(Kind::Double) * 1.5;
    let expected = fo_pool(&gates, &initial_state, FoPoolOptions::default()).unwrap();
    for mask in [&mask, &mask.squeeze_dim(0)] {
        let dropped = fo_pool(&gates, &initial_state, dropout(mask)).unwrap();
        assert_eq!(dropped.output, &expected.output * mask);
        assert_eq!(dropped.state, expected.state);
    }
    for mask in [Tensor::zeros([2, 3], DOUBLE), mask.to_kind(Kind::Float)] {
        let rejected = fo_pool(&gates, &initial_state, dropout(&mask));
        assert!(matches!(rejected, Err(Error::Shape { .. })), "{rejected:?}");
    }
}

/// 16-bit gates as autocast passes them: the state keeps full precision.
#[test]
fn half_precision_gates_have_a_float_state_and_half_precision_gradients() {
    let (gates, initial_state) = (Tensor::randn([50, 2, 12], FLOAT), Tensor::randn([2, 4], FLOAT));
    for kind in [Kind::BFloat16, Kind::Half] {
        let narrow = gates.to_kind(kind);
        let wide = narrow.to_kind(Kind::Float).set_requires_grad(true);
        let narrow = narrow.set_requires_grad(true);
        let mask = Tensor::rand([50, 2, 4], FLOAT).gt(0.2);
        let zoneout = |kind| Zoneout::Masked(mask.to_kind(kind));
        let exact = fo_pool(&wide, &initial_state, zoneout(Kind::Float).into()).unwrap();
        let ours = fo_pool(&narrow, &initial_state, zoneout(kind).into()).unwrap();
        assert_eq!((ours.output.kind(), ours.state.kind()), (kind, Kind::Float));
        assert_eq!(ours.state, exact.state);
        assert_eq!(ours.output, exact.output.to_kind(kind));
        exact.output.to_kind(kind).sum(Kind::Float).backward();
        ours.output.sum(Kind::Float).backward();
        assert_eq!(narrow.grad(), wide.grad().to_kind(kind));
        // The initial state may have the kind of the gates, too.
        let state =
            fo_pool(&narrow, &initial_state.to_kind(kind), FoPoolOptions::default()).unwrap().state;
        assert_eq!(state.kind(), Kind::Float);
    }
}
