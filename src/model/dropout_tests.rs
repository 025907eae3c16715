use proptest::prelude::*;
use qrnn_ops::cuda::Clock;
use qrnn_ops::cuda::host_shim::as_on_a_gpu;
use rand::RngExt;

use super::*;
use crate::random::Purpose;

const CPU: MaskOptions =
    MaskOptions { weights: Kind::Float, activations: Kind::Float, device: Device::Cpu };
const STREAM: Stream = Stream { seed: 1, purpose: Purpose::Dropout, counter: 0 };

#[test]
fn masks_have_the_documented_shapes_and_mean_one() {
    let config =
        LmConfig::paper(40, 60).vocab(500).embedding_dropout(0.2).weight_drop(0.5).zoneout(0.3);
    let masks = DropoutMasks::sample(&config, 7, &BatchShare::whole(5), CPU, STREAM).unwrap();
    let size = |mask: &Option<Tensor>| mask.as_ref().unwrap().size();
    assert_eq!(size(&masks.words), [500]);
    assert_eq!(size(&masks.input), [1, 5, 40]);
    assert_eq!(size(&masks.layers[0].weight), [180, 80]);
    assert_eq!(size(&masks.layers[1].zoneout), [7, 5, 60]);
    assert_eq!(size(&masks.layers[3].output), [1, 5, 40]);
    let mean = masks.layers[0].weight.as_ref().unwrap().mean(Kind::Double).double_value(&[]);
    assert!((mean - 1.0).abs() < 0.05, "{mean}");
}

#[test]
fn no_mask_is_sampled_without_dropout() {
    let config = LmConfig::paper(4, 6).vocab(5).locked_dropouts(0.0, 0.0, 0.0);
    let masks = DropoutMasks::sample(&config, 7, &BatchShare::whole(5), CPU, STREAM).unwrap();
    assert!(masks.words.is_none() && masks.input.is_none());
    assert!(masks.layers.iter().all(|l| l.weight.is_none() && l.output.is_none()));
}

/// Compares the masks of a step on `device` (on the CPU: of the host shim) with those of the CPU.
fn check_step(
    device: Device,
    config: &LmConfig,
    (seq, share): (i64, &BatchShare),
    activations: Kind,
) {
    let stream = Stream { seed: 1882, purpose: Purpose::Dropout, counter: 41 };
    let sample = |device| {
        let options = MaskOptions { weights: Kind::Float, activations, device };
        DropoutMasks::sample(config, seq, share, options, stream).unwrap()
    };
    let (cuda, cpu) = (as_on_a_gpu(|| sample(device)), sample(Device::Cpu));
    let (cuda, cpu): (Vec<_>, Vec<_>) = (cuda.masks().collect(), cpu.masks().collect());
    assert_eq!(cuda.len(), cpu.len());
    for (i, (cuda, cpu)) in cuda.into_iter().zip(cpu).enumerate() {
        assert_eq!((cuda.kind(), cuda.size()), (cpu.kind(), cpu.size()), "mask {i}");
        assert!(cuda.to_device(Device::Cpu).equal(cpu), "mask {i}");
        let nonzero = cpu.gt(0.0).sum(Kind::Int64).int64_value(&[]);
        assert!(0 < nonzero && nonzero < cpu.numel() as i64, "mask {i} drops all or none");
    }
}

/// All dropouts, and sizes that are multiples of neither a block nor 4.
fn every_dropout() -> LmConfig {
    LmConfig::paper(7, 11)
        .vocab(301)
        .layers(3)
        .locked_dropouts(0.2, 0.3, 0.4)
        .embedding_dropout(0.1)
        .weight_drop(0.5)
        .zoneout(0.25)
}

#[test]
fn masks_of_the_cuda_kernel_equal_those_of_the_cpu() {
    let whole = BatchShare::whole(6);
    for activations in [Kind::Float, Kind::BFloat16] {
        check_step(Device::Cpu, &every_dropout(), (5, &whole), activations);
        // Disabled dropouts consume no words of the stream.
        let fewer = every_dropout().zoneout(0.0).weight_drop(0.0);
        check_step(Device::Cpu, &fewer, (5, &whole), activations);
    }
}

/// A share of a step's batch is trained with the masks of some of its columns.
#[derive(Debug, Clone)]
struct ShareCase {
    config: LmConfig,
    seq: i64,
    batch: i64,
    /// Where the ranges of the columns end, in ascending order; the last one ends with the batch. Ranges may be
    /// empty.
    ends: Vec<i64>,
    weights: Kind,
    activations: Kind,
}

fn share_cases() -> impl Strategy<Value = ShareCase> {
    let p = || prop_oneof![Just(0.0), 0.05..0.95f64];
    let dropouts = (p(), p(), p(), p(), p(), p());
    let config = (1..30usize, 1..40usize, 1..4usize, dropouts).prop_map(
        |(emsize, hidden, layers, (input, hidden_p, output, words, weight, zoneout))| {
            LmConfig::paper(emsize, hidden)
                .vocab(57)
                .layers(layers)
                .locked_dropouts(input, hidden_p, output)
                .embedding_dropout(words)
                .weight_drop(weight)
                .zoneout(zoneout)
        },
    );
    let kind = || prop_oneof![Just(Kind::Float), Just(Kind::BFloat16)];
    let ends = prop::collection::vec(0.0..1.0f64, 0..4);
    (config, 1..7i64, 1..9i64, ends, kind(), kind()).prop_map(
        |(config, seq, batch, ends, weights, activations)| {
            let mut ends: Vec<i64> =
                ends.iter().map(|part| (part * (batch + 1) as f64) as i64).collect();
            ends.push(batch);
            ends.sort();
            ShareCase { config, seq, batch, ends, weights, activations }
        },
    )
}

impl ShareCase {
    fn sample(&self, columns: std::ops::Range<i64>) -> DropoutMasks {
        let (weights, activations) = (self.weights, self.activations);
        let options = MaskOptions { weights, activations, device: Device::Cpu };
        let share = BatchShare { batch: self.batch, columns };
        DropoutMasks::sample(&self.config, self.seq, &share, options, STREAM).unwrap()
    }

    /// The ranges of columns, in order.
    fn ranges(&self) -> impl Iterator<Item = std::ops::Range<i64>> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| begin..*end)
    }
}

/// The masks that have columns of the batch, and those that have none.
fn with_and_without_columns(masks: &DropoutMasks) -> [Vec<&Tensor>; 2] {
    let layers = &masks.layers;
    let with = layers.iter().flat_map(|layer| [&layer.zoneout, &layer.output]);
    let without = layers.iter().map(|layer| &layer.weight);
    [
        [&masks.input].into_iter().chain(with).flatten().collect(),
        [&masks.words].into_iter().chain(without).flatten().collect(),
    ]
}

/// Checks that the masks of all ranges of columns together are those of the whole batch.
fn check_shares(case: &ShareCase) -> std::result::Result<(), TestCaseError> {
    let whole = case.sample(0..case.batch);
    let parts: Vec<_> = case.ranges().map(|columns| case.sample(columns)).collect();
    let [with, without] = with_and_without_columns(&whole);
    let parts: Vec<_> = parts.iter().map(with_and_without_columns).collect();
    for (i, whole) in with.iter().enumerate() {
        let of_ranges: Vec<_> = parts.iter().map(|[with, _]| with[i]).collect();
        prop_assert!(Tensor::cat(&of_ranges, 1).equal(whole), "mask {} of the batch", i);
    }
    for [part_with, part_without] in parts {
        prop_assert_eq!((part_with.len(), part_without.len()), (with.len(), without.len()));
        prop_assert!(part_without.iter().zip(&without).all(|(part, whole)| part.equal(whole)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn masks_of_shares_are_columns_of_the_batchs(case in share_cases()) {
        check_shares(&case)?;
        as_on_a_gpu(|| check_shares(&case))?;
        let columns = 0..case.ends[0];
        let cpu = case.sample(columns.clone());
        let kernel = as_on_a_gpu(|| case.sample(columns));
        prop_assert!(cpu.masks().zip(kernel.masks()).all(|(cpu, kernel)| cpu.equal(kernel)));
    }
}

/// The order in which masks consume the stream is part of what makes a run repeat.
#[test]
fn masks_of_the_whole_batch_are_the_draws_of_the_stream_in_order() {
    let config = every_dropout();
    let masks = DropoutMasks::sample(&config, 5, &BatchShare::whole(6), CPU, STREAM).unwrap();
    let mut draws = STREAM.generator();
    let mut check = |mask: &Option<Tensor>, p: f64, kept: f64| {
        let mask = mask.as_ref().unwrap().view(-1);
        let expected: Vec<f32> = (0..mask.numel())
            .map(|_| if draws.random::<f32>() < p as f32 { 0.0 } else { kept as f32 })
            .collect();
        assert!(mask.equal(&Tensor::from_slice(&expected)));
    };
    check(&masks.words, 0.1, 1.0 / 0.9);
    check(&masks.input, 0.2, 1.0 / 0.8);
    for (layer, output) in masks.layers.iter().zip([0.3, 0.3, 0.4]) {
        check(&layer.weight, 0.5, 2.0);
        check(&layer.zoneout, 0.25, 1.0);
        check(&layer.output, output, 1.0 / (1.0 - output));
    }
}

#[test]
fn columns_beyond_the_batch_are_an_error() {
    let share = BatchShare { batch: 6, columns: 4..7 };
    let error = DropoutMasks::sample(&every_dropout(), 5, &share, CPU, STREAM).unwrap_err();
    assert!(error.to_string().contains("columns 4..7 are not within the batch's 6"), "{error}");
}

/// With the sizes of awd-lstm-lm for Penn Treebank. `--nocapture` prints the time of sampling, in ms.
#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_the_masks_of_a_step_are_the_cpus() {
    let base = LmConfig::paper(400, 1550)
        .vocab(10_000)
        .locked_dropouts(0.4, 0.3, 0.4)
        .embedding_dropout(0.1)
        .weight_drop(0.1);
    let device = qrnn_ops::device::cuda().unwrap();
    let clock = Clock::of(device).unwrap();
    let whole = BatchShare::whole(6);
    // Rows of odd multiples of 1,550 words begin at even words, not all at multiples of 4.
    let shares = [0..20, 7..20].map(|columns| BatchShare { batch: 20, columns });
    for (zoneout, activations) in [(0.0, Kind::Float), (0.1, Kind::Float), (0.1, Kind::BFloat16)] {
        let config = base.clone().zoneout(zoneout);
        check_step(device, &every_dropout(), (5, &whole), activations);
        let options = MaskOptions { weights: Kind::Float, activations, device };
        for share in &shares {
            check_step(device, &config, (70, share), activations);
            let start = clock.record().unwrap();
            let masks = DropoutMasks::sample(&config, 70, share, options, STREAM).unwrap();
            let milliseconds = clock.record().unwrap().since(&start).unwrap() * 1e3;
            let n: usize = masks.masks().map(Tensor::numel).sum();
            let columns = &share.columns;
            println!(
                "{n} numbers, {columns:?}, zoneout {zoneout}, {activations:?}: {milliseconds:.3} ms"
            );
        }
    }
}
