//! `reproduce bench pool`

use std::time::Instant;

use qrnn::Result;
use qrnn_ops::autograd::{self};
use qrnn_ops::fo_pool::{FoPoolOptions, fo_pool};
use qrnn_ops::libtorch::keep_freed_memory;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::args::{Args, Size, WARM_UP};
use super::gradient::FixedGradient;
use super::streams::Streams;
use crate::report::Report;
use crate::statistics::median;
use qrnn::command_line::Output;

/// What is measured, in the order of a turn.
const NAMES: [&str; 6] = [
    "forward",
    "the bytes of a forward alone",
    "a loop of tensor operations, forward",
    "forward and backward",
    "the bytes of forward and backward alone",
    "a loop of tensor operations, forward and backward",
];

pub fn run(args: &Args, json: bool) -> Result<Output> {
    let mut report = Report::new("pool", Device::Cpu, &args.record, json)?;
    keep_freed_memory();
    let Size(size) = args.sizes()[0];
    let [seq, batch, hidden] = size;
    let options = (Kind::Float, Device::Cpu);
    let gates = Tensor::f_randn([seq, batch, 3 * hidden], options)?;
    let before = Tensor::f_randn([batch, hidden], options)?;
    let grad = Tensor::f_randn([seq, batch, hidden], options)?;
    let leaf = gates.f_detach_copy()?.f_set_requires_grad(true)?;
    let numbers = (seq * batch * hidden) as usize;
    let mut streams = Streams::new(numbers);

    let mut seconds: [Vec<f64>; 6] = Default::default();
    for turn in 0..WARM_UP + args.runs {
        let mut time = |what: usize, work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
            let started = Instant::now();
            work()?;
            if turn >= WARM_UP {
                seconds[what].push(started.elapsed().as_secs_f64());
            }
            Ok(())
        };
        let gradient = |output: Tensor| -> Result<()> {
            let loss = autograd::apply(FixedGradient(grad.shallow_clone()), &[&output])?;
            Tensor::f_run_backward(&[&loss[0]], &[&leaf], false, false)?;
            Ok(())
        };
        let pool = |gates: &Tensor| {
            Ok::<_, qrnn::Error>(fo_pool(gates, &before, FoPoolOptions::default())?)
        };
        time(2, &mut || time_loop(&gates, &before).map(drop))?;
        time(5, &mut || gradient(time_loop(&leaf, &before)?))?;
        // Not counted: the allocator sorts what the loops' thousands of tensors left.
        gradient(pool(&leaf)?.output)?;
        // In turns that leave nothing of the next one's arrays in the caches.
        time(1, &mut || streams.pass(3, 1))?; // z, f, o; h
        time(0, &mut || pool(&gates).map(drop))?;
        time(4, &mut || {
            streams.pass(3, 2)?; // the states, too
            streams.pass(5, 3) // z, f, o, the states and the output's gradient; those of z, f, o
        })?;
        time(3, &mut || gradient(pool(&leaf)?.output))?;
    }

    let medians = seconds.map(median);
    let mut text = format!(
        "fo-pooling of (seq, batch, hidden) {size:?} in f32, {} threads; medians of {} runs in turns",
        tch::get_num_threads(),
        args.runs
    );
    for (ours, arrays) in [(0, 4.0), (3, 13.0)] {
        let [own, floor, plain] = [0, 1, 2].map(|i| medians[ours + i]);
        let bytes = arrays * 4.0 * numbers as f64;
        text += &format!(
            "\n{:<50} {:8.2} ms   {:6.1} GB/s\n\
             {:<50} {:8.2} ms   {:6.1} GB/s   ours takes {:.2} times as long\n\
             {:<50} {:8.2} ms   {:.1} times as long as ours",
            NAMES[ours],
            1e3 * own,
            1e-9 * bytes / own,
            NAMES[ours + 1],
            1e3 * floor,
            1e-9 * bytes / floor,
            own / floor,
            NAMES[ours + 2],
            1e3 * plain,
            plain / own,
        );
        report.add(measurement(ours, size, bytes, [own, floor, plain], args.runs))?;
    }
    Ok(report.finish(text))
}

fn measurement(ours: usize, size: [i64; 3], bytes: f64, seconds: [f64; 3], runs: u32) -> Value {
    let [own, floor, plain] = seconds;
    json!({"what": NAMES[ours], "size": size, "bytes": bytes, "seconds": own,
        "floor": NAMES[ours + 1], "floor_seconds": floor, "times_the_floor": own / floor,
        "against": NAMES[ours + 2], "against_seconds": plain, "ratio": plain / own, "runs": runs})
}

/// The recurrence as a loop of tensor operations over time.
fn time_loop(gates: &Tensor, before: &Tensor) -> Result<Tensor> {
    let parts = gates.f_chunk(3, 2)?;
    let (z, f, o) = (parts[0].f_tanh()?, parts[1].f_sigmoid()?, parts[2].f_sigmoid()?);
    let mut c = before.shallow_clone();
    let mut outputs = vec![];
    for t in 0..gates.size()[0] {
        let f = f.f_get(t)?;
        let keep = f.f_neg()?.f_add_scalar(1.0)?;
        c = f.f_mul(&z.f_get(t)?)?.f_add(&keep.f_mul(&c)?)?;
        outputs.push(o.f_get(t)?.f_mul(&c)?);
    }
    Ok(Tensor::f_stack(&outputs, 0)?)
}
