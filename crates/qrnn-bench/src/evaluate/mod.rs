//! The entry's model on WikiText-103's test text, against the same model in PyTorch.

mod args;
mod cpu;
mod cuda;
mod text;

pub use args::Args;
use qrnn::Result;
use qrnn::command_line::Output;

pub fn run(args: Args, json: bool) -> Result<Output> {
    match args.device.card()? {
        Some(device) => cuda::run(&args, device, json),
        None => cpu::run(&args, json),
    }
}
