//! One token's product with a layer of the entry, (5400, 1800): packed weights and libtorch's in single precision.

use std::time::Instant;

use qrnn::Result;
use qrnn_ops::matmul::PackedLinear;
use qrnn_ops::packed::PackedMatrix;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::args::Args;
use crate::report::Report;
use crate::statistics::median;

const SHAPE: (usize, usize) = (5400, 1800);

/// Products of each copy in a run.
const ROUNDS: usize = 8;

/// Distance of two values of the inputs' grid.
const STEP: f32 = 1.0 / 128.0;

/// A form of the weights, in several copies.
struct Form {
    name: &'static str,
    bytes: usize,
    copies: Vec<PackedLinear>,
    seconds: Vec<f64>,
}

pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let (rows, columns) = SHAPE;
    let random = &mut ChaCha8Rng::seed_from_u64(1);
    let float = (Kind::Float, Device::Cpu);
    let bias = Tensor::f_zeros([rows as i64], float)?;
    let dense = (0..args.copies)
        .map(|_| Ok(Tensor::f_randn([rows as i64, columns as i64], float)?))
        .collect::<Result<Vec<_>>>()?;
    let matrices = [
        ("8 bits, 50 % zeros", sparse(0.5, random)?),
        ("8 bits, 80 % zeros", sparse(0.8, random)?),
        ("8 bits, 90 % zeros", sparse(0.9, random)?),
        ("4-bit codes, dense", codes4(random)?),
        ("8 bits, dense", sparse(0.0, random)?),
    ];
    let mut forms = vec![];
    for (name, matrix) in matrices {
        let bytes = matrix.bytes();
        let copy = |_| PackedLinear::new(matrix.clone(), &[0.01], STEP, Some(vec![0.0; rows]));
        let copies = (0..args.copies).map(copy).collect::<Result<_, _>>()?;
        forms.push(Form { name, bytes, copies, seconds: vec![] });
    }
    let x = Tensor::f_rand([1, columns as i64], float)?.f_sub_scalar(0.5)?;
    let mut of_torch = vec![];
    for round in 0..=ROUNDS * args.runs as usize {
        for (i, weight) in dense.iter().enumerate() {
            let started = Instant::now();
            let _ = x.f_linear(weight, Some(&bias))?;
            let mut seconds = vec![started.elapsed().as_secs_f64()];
            for form in &forms {
                let started = Instant::now();
                let _ = form.copies[i].forward(&x)?;
                seconds.push(started.elapsed().as_secs_f64());
            }
            // The first round is not measured.
            if round > 0 {
                of_torch.push(seconds[0]);
                for (form, seconds) in forms.iter_mut().zip(&seconds[1..]) {
                    form.seconds.push(*seconds);
                }
            }
        }
    }
    let against = median(of_torch);
    report.print(format!(
        "product of one token with ({rows}, {columns}), {} copies in turn; libtorch fp32 {:.3} ms",
        args.copies,
        1e3 * against
    ));
    for Form { name, bytes, seconds, .. } in forms {
        let (runs, seconds) = (seconds.len(), median(seconds));
        let ratio = against / seconds;
        report.print(format!(
            "  {name:<20} {:.3} ms   {:5.2} MB   {ratio:.1} times libtorch fp32",
            1e3 * seconds,
            bytes as f64 / 1e6
        ));
        report.add(json!({"what": "product", "of": name, "shape": [rows, columns], "tokens": 1,
            "copies": args.copies, "runs": runs, "seconds": seconds, "bytes": bytes,
            "against": "libtorch fp32 linear", "against_seconds": against, "ratio": ratio}))?;
    }
    Ok(())
}

/// Random codes, with zeros at random places.
fn sparse(zeros: f64, random: &mut ChaCha8Rng) -> Result<PackedMatrix> {
    let (rows, columns) = SHAPE;
    let mut mask = vec![0u8; (rows * columns).div_ceil(8)];
    let mut codes = vec![];
    for i in (0..rows * columns).filter(|_| random.random::<f64>() >= zeros).collect::<Vec<_>>() {
        mask[i / 8] |= 1 << (i % 8);
        codes.push(random.random_range(1..=127));
    }
    let matrix = match zeros {
        0.0 => PackedMatrix::dense8(rows, columns, &codes),
        _ => PackedMatrix::bitmask(rows, columns, &mask, &codes),
    };
    Ok(matrix.map_err(qrnn_ops::Error::from)?)
}

fn codes4(random: &mut ChaCha8Rng) -> Result<PackedMatrix> {
    let (rows, columns) = SHAPE;
    let indices: Vec<u8> = (0..rows * columns / 2).map(|_| random.random()).collect();
    let book = std::array::from_fn(|i| i as i8 * 16 - 120);
    let matrix = PackedMatrix::codes4(rows, columns, &indices, &book);
    Ok(matrix.map_err(qrnn_ops::Error::from)?)
}
