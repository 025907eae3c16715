use proptest::prelude::*;

use super::*;
use crate::cuda::host_shim::as_on_a_gpu;

const CPU: Device = Device::Cpu;

/// Masks of a random partition of the batch's columns, whose ranges may be empty.
#[derive(Debug, Clone)]
struct Case {
    size: [i64; 3],
    /// Words that an earlier mask has consumed.
    before: i64,
    /// Where the ranges end, in ascending order; the last one ends with the batch.
    ends: Vec<i64>,
    p: f64,
    kind: Kind,
}

fn cases() -> impl Strategy<Value = Case> {
    let width = prop_oneof![1..40i64, (1..20i64).prop_map(|packs| 4 * packs)];
    let size = (1..6i64, 1..9i64, width);
    let kind = prop_oneof![Just(Kind::Float), Just(Kind::BFloat16), Just(Kind::Double)];
    let ends = prop::collection::vec(0.0..1.0f64, 0..4);
    (size, 1..40i64, ends, 0.05..0.95f64, kind).prop_map(
        |((rows, batch, width), before, ends, p, kind)| {
            let mut ends: Vec<i64> =
                ends.iter().map(|part| (part * (batch + 1) as f64) as i64).collect();
            ends.push(batch);
            ends.sort();
            Case { size: [rows, batch, width], before, ends, p, kind }
        },
    )
}

/// The masks of some columns, and the next mask after them.
fn sample(case: &Case, columns: Option<Range<i64>>) -> [Tensor; 2] {
    let (values, options) = (Bernoulli::dropout(case.p), (case.kind, CPU));
    let mut sampler = MaskSampler::new(CPU, [5; 32]).unwrap();
    let _ = sampler.sample(values, &[case.before], options).unwrap();
    let mask = match columns {
        Some(columns) => sampler.sample_columns(values, case.size, columns, options),
        None => sampler.sample(values, &case.size, options),
    };
    let next = sampler.sample(values, &[50], options);
    [mask, next].map(|mask| mask.unwrap().unwrap())
}

fn check(case: &Case) -> std::result::Result<(), TestCaseError> {
    let [whole, next] = sample(case, None);
    let begins = std::iter::once(0).chain(case.ends.iter().copied());
    let mut parts = vec![];
    for columns in begins.zip(&case.ends).map(|(begin, end)| begin..*end) {
        let [part, after] = sample(case, Some(columns.clone()));
        let [rows, _, width] = case.size;
        prop_assert_eq!(part.size(), [rows, columns.end - columns.start, width]);
        prop_assert_eq!(part.kind(), case.kind);
        prop_assert!(after.equal(&next), "columns {:?} leave the stream elsewhere", columns);
        parts.push(part);
    }
    prop_assert!(Tensor::cat(&parts, 1).equal(&whole), "the columns differ");
    Ok(())
}

proptest! {
    #[test]
    fn columns_are_those_of_the_whole_mask(case in cases()) {
        check(&case)?;
        as_on_a_gpu(|| check(&case))?;
        let of_cpu = sample(&case, Some(0..case.ends[0]));
        let of_kernel = as_on_a_gpu(|| sample(&case, Some(0..case.ends[0])));
        prop_assert!(of_cpu[0].equal(&of_kernel[0]));
    }
}

#[test]
fn without_dropout_there_is_no_mask_and_no_word_is_consumed() {
    let options = (Kind::Float, CPU);
    let [mut sampler, mut other] = [(); 2].map(|()| MaskSampler::on_cpu([1; 32]));
    let none = sampler.sample_columns(Bernoulli::dropout(0.0), [3, 4, 5], 1..2, options).unwrap();
    assert!(none.is_none());
    let next = |sampler: &mut MaskSampler| {
        sampler.sample(Bernoulli::dropout(0.5), &[99], options).unwrap().unwrap()
    };
    assert!(next(&mut sampler).equal(&next(&mut other)));
}
