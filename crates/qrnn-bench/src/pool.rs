//! `reproduce bench pool`

mod cuda;
mod ours;
mod streams;

use std::time::Instant;

use clap::Args as ClapArgs;
use qrnn::Result;
use qrnn_ops::autograd::{self, Backward, Forward, Function};
use qrnn_ops::fo_pool::{FoPoolOptions, fo_pool};
use qrnn_ops::libtorch::keep_freed_memory;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::baselines::pooling::Method;
use crate::baselines::{Chosen, PeerFlags};
use crate::device::DeviceFlags;
use crate::median;
use crate::report::{RecordFlags, Report};
use qrnn::command_line::Output;
use qrnn::command_line::numbers;
use streams::Streams;

/// Runs that are not counted.
const WARM_UP: u32 = 3;

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Time steps; 140, 300 on a card
    #[arg(long, value_parser = numbers::times::<i64>)]
    seq: Option<i64>,
    /// Columns; 20, 40 on a card
    #[arg(long, value_parser = numbers::times::<i64>)]
    batch: Option<i64>,
    /// Features; 1024, 1800 on a card
    #[arg(long, value_parser = numbers::times::<i64>)]
    hidden: Option<i64>,
    /// Sizes on a card, SEQxBATCHxHIDDEN: where no size is given, the entry's windows, shorter ones, and
    /// one long column
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["seq", "batch", "hidden"])]
    #[arg(default_value_if("device", "cuda", "300x40x1800,140x60x1800,16384x1x1800"))]
    cases: Vec<Size>,
    /// Times that each is measured, in turns; 200 on a card, at most 40 of a long sequence
    #[arg(long, value_parser = numbers::times::<u32>, default_value_t = 21)]
    #[arg(default_value_if("device", "cuda", "200"))]
    runs: u32,
    /// Implementations to compare with on a GPU: none, or some of published,hgrn,scan
    #[arg(long, default_value = "published,hgrn,scan")]
    peers: Chosen<Method>,
    #[command(flatten)]
    peer_flags: PeerFlags,
    #[command(flatten)]
    record: RecordFlags,
    #[command(flatten)]
    device: DeviceFlags,
}

/// Time steps, columns and features.
#[derive(Debug, Clone, Copy)]
pub struct Size([i64; 3]);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<i64>> = text.split('x').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[seq, batch, hidden]) if [seq, batch, hidden].iter().all(|n| *n > 0) => {
                Ok(Self([seq, batch, hidden]))
            }
            _ => Err("write for example 300x40x1800".into()),
        }
    }
}

impl Args {
    /// The sizes to measure: those of `--cases`, unless a part of one is given.
    fn sizes(&self) -> Vec<Size> {
        let parts = [self.seq, self.batch, self.hidden];
        if parts.iter().all(Option::is_none) && !self.cases.is_empty() {
            return self.cases.clone();
        }
        let others = if self.device.is_cuda() { [300, 40, 1800] } else { [140, 20, 1024] };
        let part = |i: usize| parts[i].unwrap_or(others[i]);
        vec![Size([part(0), part(1), part(2)])]
    }
}

/// What is measured, in the order of a turn.
const NAMES: [&str; 6] = [
    "forward",
    "the bytes of a forward alone",
    "a loop of tensor operations, forward",
    "forward and backward",
    "the bytes of forward and backward alone",
    "a loop of tensor operations, forward and backward",
];

pub fn run(args: Args, json: bool) -> Result<Output> {
    if let Some(device) = args.device.card()? {
        return cuda::run(&args, device, json);
    }
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
            let loss = autograd::apply(GradientGiven(grad.shallow_clone()), &[&output])?;
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
        report.note(measurement(ours, size, bytes, [own, floor, plain], args.runs))?;
    }
    Ok(report.done(text))
}

fn measurement(ours: usize, size: [i64; 3], bytes: f64, seconds: [f64; 3], runs: u32) -> Value {
    let [own, floor, plain] = seconds;
    json!({"what": NAMES[ours], "size": size, "bytes": bytes, "seconds": own,
        "floor": NAMES[ours + 1], "floor_seconds": floor, "times_the_floor": own / floor,
        "against": NAMES[ours + 2], "against_seconds": plain, "ratio": plain / own, "runs": runs})
}

/// A loss that costs nothing, of a gradient that lies ready: what is timed is the operation alone.
struct GradientGiven(Tensor);

impl Function for GradientGiven {
    fn forward(&mut self, _: &[&Tensor]) -> qrnn_ops::Result<Forward> {
        Ok(Forward {
            outputs: vec![Tensor::f_zeros([1], (Kind::Float, self.0.device()))?],
            saved: vec![],
        })
    }

    fn backward(&self, _: Backward<'_>) -> qrnn_ops::Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.0.shallow_clone())])
    }
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
