//! Training steps, compared with the same model in PyTorch.

mod args;
mod beside;
mod cpu;
mod cuda;
mod interleaved;
mod lower_bound;
mod shown;

pub use args::Args;
use qrnn::Result;
use qrnn::command_line::Output;

pub fn run(args: Args, json: bool) -> Result<Output> {
    match args.device.gpu_path()? {
        Some(device) => cuda::run(&args, device, json),
        None => cpu::run(&args, json),
    }
}
