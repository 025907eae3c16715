//! `qrnn-bench pool` on the CPU.

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

/// Names of the measurements.
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
    let initial_state = Tensor::f_randn([batch, hidden], options)?;
    let grad = Tensor::f_randn([seq, batch, hidden], options)?;
    let leaf = gates.f_detach_copy()?.f_set_requires_grad(true)?;
    let numel = (seq * batch * hidden) as usize;
    let mut streams = Streams::new(numel);

    let mut seconds: [Vec<f64>; 6] = Default::default();
    for run in 0..WARM_UP + args.runs {
        let mut time = |index: usize, work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
            let started = Instant::now();
            work()?;
            if run >= WARM_UP {
                seconds[index].push(started.elapsed().as_secs_f64());
            }
            Ok(())
        };
        let gradient = |output: Tensor| -> Result<()> {
            let loss = autograd::apply(FixedGradient(grad.shallow_clone()), &[&output])?;
            Tensor::f_run_backward(&[&loss[0]], &[&leaf], false, false)?;
            Ok(())
        };
        let pool = |gates: &Tensor| {
            Ok::<_, qrnn::Error>(fo_pool(gates, &initial_state, FoPoolOptions::default())?)
        };
        time(2, &mut || time_loop(&gates, &initial_state).map(drop))?;
        time(5, &mut || gradient(time_loop(&leaf, &initial_state)?))?;
        // Not measured: the allocator cleans up thousands of tensors of the loops.
        gradient(pool(&leaf)?.output)?;
        // In an order in which no measurement finds its arrays in the caches.
        time(1, &mut || streams.pass(3, 1))?; // z, f, o; h
        time(0, &mut || pool(&gates).map(drop))?;
        time(4, &mut || {
            streams.pass(3, 2)?; // z, f, o; h and the states
            streams.pass(5, 3) // z, f, o, the states and the gradient of h; the gradients of z, f, o
        })?;
        time(3, &mut || gradient(pool(&leaf)?.output))?;
    }

    let medians = seconds.map(median);
    let mut text = format!(
        "fo-pooling of (seq, batch, hidden) {size:?} in f32, {} threads; medians of {} interleaved runs",
        tch::get_num_threads(),
        args.runs
    );
    for (ours, arrays) in [(0, 4.0), (3, 13.0)] {
        let [seconds_ours, lower_bound, looped] = [0, 1, 2].map(|i| medians[ours + i]);
        let bytes = arrays * 4.0 * numel as f64;
        text += &format!(
            "\n{:<50} {:8.2} ms   {:6.1} GB/s\n\
             {:<50} {:8.2} ms   {:6.1} GB/s   ours: {:.2} times as long\n\
             {:<50} {:8.2} ms   {:.1} times as long as ours",
            NAMES[ours],
            1e3 * seconds_ours,
            1e-9 * bytes / seconds_ours,
            NAMES[ours + 1],
            1e3 * lower_bound,
            1e-9 * bytes / lower_bound,
            seconds_ours / lower_bound,
            NAMES[ours + 2],
            1e3 * looped,
            looped / seconds_ours,
        );
        report.add(measurement(
            ours,
            size,
            bytes,
            [seconds_ours, lower_bound, looped],
            args.runs,
        ))?;
    }
    Ok(report.finish(text))
}

/// The measurement of NAMES[ours].
fn measurement(ours: usize, size: [i64; 3], bytes: f64, seconds: [f64; 3], runs: u32) -> Value {
    let [seconds_ours, lower_bound, looped] = seconds;
    json!({"what": NAMES[ours], "size": size, "bytes": bytes, "seconds": seconds_ours,
        "floor": NAMES[ours + 1], "floor_seconds": lower_bound,
        "times_the_floor": seconds_ours / lower_bound, "against": NAMES[ours + 2],
        "against_seconds": looped, "ratio": looped / seconds_ours, "runs": runs})
}

/// The recurrence as a loop of tensor operations over time.
fn time_loop(gates: &Tensor, initial_state: &Tensor) -> Result<Tensor> {
    let gates = gates.f_chunk(3, 2)?;
    let (z, f, o) = (gates[0].f_tanh()?, gates[1].f_sigmoid()?, gates[2].f_sigmoid()?);
    let mut c = initial_state.shallow_clone();
    let mut outputs = vec![];
    for t in 0..f.size()[0] {
        let f = f.f_get(t)?;
        let one_minus_f = f.f_neg()?.f_add_scalar(1.0)?;
        c = f.f_mul(&z.f_get(t)?)?.f_add(&one_minus_f.f_mul(&c)?)?;
        outputs.push(o.f_get(t)?.f_mul(&c)?);
    }
    Ok(Tensor::f_stack(&outputs, 0)?)
}
