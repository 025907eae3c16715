//! Evaluation of the entry's model on WikiText-103's test text, compared with PyTorch.

mod args;
mod cpu;
mod cuda;
mod text;

pub use args::Args;
use qrnn::Result;
use qrnn::command_line::Output;

pub fn run(args: Args, json: bool) -> Result<Output> {
    match args.device.gpu_path()? {
        Some(device) => cuda::run(&args, device, json),
        None => cpu::run(&args, json),
    }
}
