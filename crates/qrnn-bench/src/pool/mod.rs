//! fo-pooling, compared with memory bandwidth and a loop of tensor operations.

mod args;
mod cpu;
mod cuda;
mod gradient;
mod ours;
mod streams;

pub use args::Args;
use qrnn::Result;
use qrnn::command_line::Output;

pub fn run(args: Args, json: bool) -> Result<Output> {
    match args.device.gpu_path()? {
        Some(device) => cuda::run(&args, device, json),
        None => cpu::run(&args, json),
    }
}
