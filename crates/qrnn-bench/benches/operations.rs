//! Benchmarks of the operations of a training step: `cargo bench`. For comparisons see `qrnn-bench`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use qrnn::prelude::*;
use qrnn_ops::fo_pool::{FoPoolOptions, fo_pool};
use qrnn_ops::libtorch::{AdamStep, AdamTensors, fused_adam};
use qrnn_ops::matmul::{Addend, Precision, linear};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

const PRECISIONS: [Precision; 3] = [Precision::Torch, Precision::Single, Precision::Bf16];

/// Tokens of a step: batch size 20, sequence length 70.
const WORDS: i64 = 1400;

fn precision(c: &mut Criterion) {
    let mut group = c.benchmark_group("product_1400_256_768");
    let (a, b) = (Tensor::randn([WORDS, 256], FLOAT), Tensor::randn([256, 768], FLOAT));
    let out = Tensor::zeros([WORDS, 768], FLOAT);
    group.throughput(Throughput::Elements(2 * 256 * 768 * WORDS as u64));
    for precision in PRECISIONS {
        group.bench_function(format!("{precision:?}"), |bencher| {
            bencher.iter(|| precision.multiply(&out, &a, &b, Addend::Nothing).unwrap());
        });
    }
    group.finish();
}

fn pooled(gates: &Tensor, initial_state: &Tensor) -> Tensor {
    fo_pool(gates, initial_state, FoPoolOptions::default()).unwrap().output
}

fn pool(c: &mut Criterion) {
    let mut group = c.benchmark_group("pool_140_20_1024");
    let gates = Tensor::randn([140, 20, 3 * 1024], FLOAT).set_requires_grad(true);
    let initial_state = Tensor::zeros([20, 1024], FLOAT);
    group.throughput(Throughput::Elements(140 * 20 * 1024));
    group.bench_function("forward", |bencher| {
        let _no_grad = tch::no_grad_guard();
        bencher.iter(|| pooled(&gates, &initial_state));
    });
    group.bench_function("forward_backward", |bencher| {
        bencher.iter(|| {
            let sum = pooled(&gates, &initial_state).sum(Kind::Float);
            Tensor::run_backward(&[&sum], &[&gates], false, false)
        });
    });
    group.finish();
}

fn layer(c: &mut Criterion) {
    let mut group = c.benchmark_group("layer_70_20_256");
    let leaf = |size: &[i64]| Tensor::randn(size, FLOAT).set_requires_grad(true);
    let (x, weight, bias) = (leaf(&[70, 20, 256]), leaf(&[768, 256]), leaf(&[768]));
    let initial_state = Tensor::zeros([20, 256], FLOAT);
    group.throughput(Throughput::Elements(WORDS as u64));
    for precision in PRECISIONS {
        let x = x.to_kind(precision.activation_kind(FLOAT));
        group.bench_function(format!("{precision:?}"), |bencher| {
            bencher.iter(|| {
                let gates = linear(&x, &weight, &bias, precision).unwrap();
                let sum = pooled(&gates, &initial_state).sum(Kind::Float);
                Tensor::run_backward(&[&sum], &[&x, &weight, &bias], false, false)
            });
        });
    }
    group.finish();
}

fn split_softmax(c: &mut Criterion) {
    let mut group = c.benchmark_group("split_softmax_28441_128");
    let config = LmConfig::paper(128, 256).vocab(28_441).splits(Splits::At(vec![2800, 10_000]));
    let mut model = QrnnLm::seeded(&config, FLOAT, 1).unwrap();
    let hidden = Tensor::randn([70, 20, 128], FLOAT).set_requires_grad(true);
    // Two thirds of the tokens are in the head, as in the text.
    let words: Vec<i64> =
        (0..WORDS).map(|i| if i % 3 < 2 { i % 2800 } else { i * 19 % 28_441 }).collect();
    group.throughput(Throughput::Elements(WORDS as u64));
    for precision in PRECISIONS {
        model.set_precision(precision);
        group.bench_function(format!("{precision:?}"), |bencher| {
            bencher.iter(|| {
                let loss = model.loss(&hidden, &words).unwrap();
                Tensor::run_backward(&[&loss], &[&hidden], false, false)
            });
        });
    }
    group.finish();
}

fn adam(c: &mut Criterion) {
    let mut group = c.benchmark_group("adam_4_million");
    let numel = 4_000_000;
    let tensor = || Tensor::zeros([numel], FLOAT);
    let (parameter, exp_avg, exp_avg_sq) = (tensor(), tensor(), tensor());
    let (grad, step) = (Tensor::randn([numel], FLOAT), Tensor::zeros([], FLOAT));
    let settings = AdamStep { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
    group.throughput(Throughput::Bytes(28 * numel as u64));
    group.bench_function("fused", |bencher| {
        bencher.iter(|| {
            let tensors = [AdamTensors {
                parameter: &parameter,
                grad: &grad,
                exp_avg: &exp_avg,
                exp_avg_sq: &exp_avg_sq,
                step: &step,
            }];
            fused_adam(&tensors, settings, None, None).unwrap();
        });
    });
    group.finish();
}

fn corpus(c: &mut Criterion) {
    let mut group = c.benchmark_group("corpus");
    group.sample_size(10);
    let corpus = Corpus::synthetic();
    let words = corpus.tokens(Split::Train).iter().map(|&id| corpus.vocab().word(id));
    let text = words.collect::<Vec<_>>().join(" ").replace(" <eos> ", "\n");
    let folder = tempfile::tempdir().unwrap();
    for name in ["train", "valid", "test"] {
        std::fs::write(folder.path().join(format!("{name}.txt")), &text).unwrap();
    }
    group.throughput(Throughput::Bytes(3 * text.len() as u64));
    group.bench_function("text_to_ids", |bencher| {
        bencher.iter(|| black_box(Corpus::from_text(folder.path()).unwrap()));
    });
    group.finish();
}

fn all(c: &mut Criterion) {
    qrnn_ops::libtorch::keep_freed_memory();
    qrnn_ops::libtorch::set_threads();
    for benchmark in [precision, pool, layer, split_softmax, adam, corpus] {
        benchmark(c);
    }
}

criterion_group!(operations, all);
criterion_main!(operations);
