use proptest::prelude::*;
use tch::Device;

use super::*;
use crate::cuda::host_shim::as_on_a_gpu;

/// Reference: straight loops in double precision.
fn reference(keys: &Tensor, values: &[i64], queries: usize, size: usize, theta: f64) -> Vec<f64> {
    let (positions, width) = keys.size2().unwrap();
    let flat: Vec<f64> = Vec::try_from(keys.to_kind(Kind::Double).view(-1)).unwrap();
    let key = |i: usize| &flat[i * width as usize..][..width as usize];
    let queried = positions as usize - queries..positions as usize;
    let log_probability = |t: usize| {
        let (mut own, mut all) = (0.0, 0.0);
        for i in t.saturating_sub(size)..t {
            let score: f64 = key(t).iter().zip(key(i)).map(|(a, b)| a * b).sum();
            let weight = (theta * score).exp();
            all += weight;
            own += if values[i] == values[t] { weight } else { 0.0 };
        }
        if own == 0.0 { f64::NEG_INFINITY } else { f64::ln(own / all) }
    };
    queried.map(log_probability).collect()
}

/// Sizes of a text and its cache.
#[derive(Debug, Clone)]
struct Sizes {
    positions: usize,
    queries: usize,
    width: i64,
    size: usize,
    words: i64,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let size = prop_oneof![Just(1usize), Just(3), Just(7), 1..200usize];
    (1..90usize, 0..=100usize, 1..9i64, size, 1..12i64).prop_map(
        |(positions, share, width, size, words)| {
            let queries = (positions * share).div_ceil(100);
            Sizes { positions, queries, width, size, words }
        },
    )
}

/// Compares with straight loops: on the CPU in both kinds, and by the operations of a GPU.
fn check(on_gpu: bool, sizes: &Sizes) -> Result<(), TestCaseError> {
    let &Sizes { positions, queries, width, size, words } = sizes;
    let exact = Tensor::randn([positions as i64, width], (Kind::Double, Device::Cpu));
    let values: Vec<i64> = (0..positions as i64).map(|i| (i * i * 7 + width) % words).collect();
    let thetas = [0.0, 0.3, 1.0, 2.5];
    for (kind, tolerance) in [(Kind::Double, 1e-10f64), (Kind::Float, 1e-4)] {
        let keys = exact.to_kind(kind);
        let run = |keys: &Tensor| {
            CacheAttention { keys, values: &values, queries, size }.log_probabilities(&thetas)
        };
        // The host shim multiplies in single precision.
        let results = if on_gpu {
            let device = crate::device::cuda().unwrap();
            vec![(run(&keys.to_device(device)).unwrap().to_device(Device::Cpu), tolerance)]
        } else {
            let by_torch = as_on_a_gpu(|| run(&keys)).unwrap();
            vec![(run(&keys).unwrap(), tolerance), (by_torch, 1e-4)]
        };
        for (result, tolerance) in results {
            prop_assert_eq!(result.kind(), Kind::Double);
            prop_assert_eq!(result.size(), vec![thetas.len() as i64, queries as i64]);
            for (row, theta) in thetas.iter().enumerate() {
                let expected = reference(&keys, &values, queries, size, *theta);
                let row: Vec<f64> = Vec::try_from(result.get(row as i64)).unwrap();
                for (a, b) in row.iter().zip(&expected) {
                    prop_assert!(a == b || (a - b).abs() < tolerance, "{theta}: {a} {b}");
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equals_straight_loops(sizes in sizes()) {
        check(false, &sizes)?;
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_it_equals_straight_loops(sizes in sizes()) {
        check(true, &sizes)?;
    }
}

/// θ so large that every other pair's weight, and that of the target, is 0 in double precision.
#[test]
fn large_thetas_do_not_overflow() {
    let keys = Tensor::from_slice(&[4.0f32, -3.0, 4.0]).view([3, 1]);
    let values = [1, 2, 2];
    let attention = CacheAttention { keys: &keys, values: &values, queries: 3, size: 9 };
    for on_gpu in [false, true] {
        let run = || attention.log_probabilities(&[1000.0]).unwrap();
        let result = if on_gpu { as_on_a_gpu(run) } else { run() };
        let result: Vec<f64> = Vec::try_from(result.view(-1)).unwrap();
        assert_eq!(result, [f64::NEG_INFINITY, f64::NEG_INFINITY, -28_000.0]);
    }
}

/// Chunks of few queries give the same as one of all.
#[test]
fn results_do_not_depend_on_the_chunks() {
    let positions = MAX_QUERIES + 300;
    let keys = Tensor::randn([positions as i64, 3], (Kind::Double, Device::Cpu));
    let values: Vec<i64> = (0..positions as i64).map(|i| i % 11).collect();
    let at_once = CacheAttention { keys: &keys, values: &values, queries: positions, size: 50 };
    let at_once: Vec<f64> =
        Vec::try_from(at_once.log_probabilities(&[0.7]).unwrap().view(-1)).unwrap();
    let expected = reference(&keys, &values, positions, 50, 0.7);
    assert!(at_once.iter().zip(&expected).all(|(a, b)| a == b || (a - b).abs() < 1e-10));
}

#[test]
fn sizes_that_do_not_match_are_refused() {
    let keys = Tensor::zeros([3, 2], (Kind::Float, Device::Cpu));
    let bf16 = keys.to_kind(Kind::BFloat16);
    for (keys, values, queries, size) in [
        (&keys, &[1i64, 2][..], 1, 1),
        (&keys, &[1, 2, 3], 4, 1),
        (&keys, &[1, 2, 3], 1, 0),
        (&bf16, &[1, 2, 3], 1, 1),
    ] {
        let attention = CacheAttention { keys, values, queries, size };
        assert!(matches!(attention.log_probabilities(&[1.0]), Err(Error::Shape { .. })));
    }
}
