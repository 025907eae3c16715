use proptest::prelude::*;

use super::*;

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// A random row-major or column-major matrix whose rows (or columns) are padded by `padding` elements.
fn matrix(rows: i64, columns: i64, row_major: bool, padding: i64) -> Tensor {
    if row_major {
        Tensor::randn([rows, columns + padding], FLOAT).narrow(1, 0, columns)
    } else {
        Tensor::randn([columns, rows + padding], FLOAT).narrow(1, 0, rows).tr()
    }
}

fn rounded(tensor: &Tensor) -> Tensor {
    tensor.to_kind(Kind::BFloat16).to_kind(Kind::Double)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn equals_the_product_in_double_precision(
        rows in prop_oneof![1..40i64, 270..300i64], columns in prop_oneof![1..80i64, 2040..2060i64],
        depth in prop_oneof![1..50i64, 300..350i64, 630..660i64],
        row_major: (bool, bool), padding in 0..3i64, seed: u16,
    ) {
        tch::manual_seed(i64::from(seed));
        let (a, b) = (matrix(rows, depth, row_major.0, padding), matrix(depth, columns, row_major.1, padding));
        let bias = Tensor::randn([columns], FLOAT);
        for precision in [Precision::Torch, Precision::Single, Precision::Bf16] {
            let rounds = precision == Precision::Bf16 && Precision::has_bf16();
            let double = |t: &Tensor| if rounds { rounded(t) } else { t.to_kind(Kind::Double) };
            let product = double(&a).mm(&double(&b));
            let largest = |t: &Tensor| t.abs().max().double_value(&[]);
            for addend in [Addend::Nothing, Addend::Output, Addend::Bias(&bias)] {
                let out = matrix(rows, columns, true, padding);
                let exact = match addend {
                    Addend::Nothing => product.shallow_clone(),
                    Addend::Output => &product + out.to_kind(Kind::Double),
                    Addend::Bias(bias) => &product + double(bias),
                };
                precision.multiply(&out, &a, &b, addend).unwrap();
                // In bf16, operands and bias are rounded, and the product before or after the addition:
                // it may be larger than the sum.
                let rounding = if rounds { largest(&product).max(largest(&exact)) / 256.0 } else { 0.0 };
                let error = largest(&(out.to_kind(Kind::Double) - &exact));
                let bound = 1e-6 * (depth as f64).sqrt().max(1.0) * 8.0 + rounding;
                prop_assert!(error <= bound, "{precision:?} {addend:?}: {error:e}");
            }
        }
    }
}

#[test]
fn elements_outside_the_result_are_not_written() {
    let whole = Tensor::zeros([20, 50], FLOAT);
    let out = whole.narrow(0, 1, 17).narrow(1, 3, 35);
    let (a, b) = (Tensor::ones([17, 9], FLOAT), Tensor::ones([9, 35], FLOAT));
    Precision::Single.multiply(&out, &a, &b, Addend::Nothing).unwrap();
    assert_eq!(out.min().double_value(&[]), 9.0);
    assert_eq!(whole.sum(Kind::Double).double_value(&[]), 9.0 * 17.0 * 35.0);
}

#[test]
fn infinities_and_nans_reach_the_result() {
    for special in [f32::NAN, f32::from_bits(0x7fff_ffff), f32::INFINITY] {
        for precision in [Precision::Single, Precision::Bf16] {
            let (a, b) =
                (Tensor::from_slice(&[special, 1.0]).view([1, 2]), Tensor::ones([2, 3], FLOAT));
            let out = Tensor::zeros([1, 3], FLOAT);
            precision.multiply(&out, &a, &b, Addend::Nothing).unwrap();
            let sum = out.double_value(&[0, 2]) as f32;
            assert!(sum == special || sum.is_nan() && special.is_nan(), "{special}: {sum}");
        }
    }
}

#[test]
fn mismatched_shapes_are_rejected() {
    let tensor = |rows, columns| Tensor::zeros([rows, columns], FLOAT);
    let out = tensor(2, 3);
    let result = Precision::Single.multiply(&out, &tensor(2, 4), &tensor(5, 3), Addend::Nothing);
    assert!(result.is_err());
}

/// `cargo test --release --lib products_rate -- --ignored --nocapture`: GFLOP/s at the model's shapes, for the
/// forward product and both products of the backward.
#[test]
#[ignore = "a measurement"]
fn products_rate() {
    use std::time::Instant;
    let shapes = [
        (1400, 256, 768),
        (1400, 128, 2802),
        (294, 128, 28441),
        (1400, 600, 5400),
        (1400, 1800, 5400),
        (140, 1800, 5400),
        (140, 600, 5400),
        (140, 1800, 900),
        (40, 300, 17200),
        (140, 40, 540),
    ];
    for (m, k, n) in shapes {
        let (x, w, g) = (
            Tensor::randn([m, k], FLOAT),
            Tensor::randn([n, k], FLOAT),
            Tensor::randn([m, n], FLOAT),
        );
        let (y, dx, dw) = (g.empty_like(), x.empty_like(), w.empty_like());
        let mut line = format!("{m:>5} {k:>5} {n:>6}");
        let all = [Precision::Torch, Precision::Single, Precision::Bf16];
        let mut times = vec![vec![]; 9];
        for _ in 0..15 {
            for (i, precision) in all.iter().enumerate() {
                for (j, (out, a, b)) in
                    [(&y, &x, &w.tr()), (&dx, &g, &w), (&dw, &g.tr(), &x)].into_iter().enumerate()
                {
                    let started = Instant::now();
                    precision.multiply(out, a, b, Addend::Nothing).unwrap();
                    times[3 * i + j].push(started.elapsed().as_secs_f64());
                }
            }
        }
        for times in &mut times {
            times.sort_by(f64::total_cmp);
            line += &format!(" {:5.0}", 2e-9 * (m * k * n) as f64 / times[times.len() / 3]);
        }
        println!("{line}");
    }
}
