//! The device of a benchmark.

use qrnn::Result;
use qrnn::command_line::require_cuda;
use qrnn_ops::cuda::CudaDevice;
use tch::Device;

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum DeviceChoice {
    Cpu,
    Cuda,
}

#[derive(Debug, Clone, clap::Args)]
pub struct DeviceFlags {
    /// Device to measure; on a GPU, options default to the entry's values
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
}

impl DeviceFlags {
    pub fn device(&self) -> Result<Device> {
        match self.device {
            DeviceChoice::Cuda => require_cuda(0),
            DeviceChoice::Cpu => Ok(Device::Cpu),
        }
    }
}

/// The name of a device in measurements.
pub fn name(device: Device) -> Result<String> {
    match device {
        Device::Cuda(ordinal) => Ok(CudaDevice::of(ordinal)?.name()?),
        _ => {
            let processor = qrnn_ops::device::processor_name();
            let of = processor.map_or_else(String::new, |name| format!(" of {name}"));
            let threads = tch::get_num_threads();
            let s = if threads == 1 { "" } else { "s" };
            Ok(format!("the CPU, {threads} thread{s}{of}"))
        }
    }
}

/// Peak memory of tensors on a GPU since the last call, in bytes; `None` on the CPU.
pub fn peak_bytes(device: Device) -> Result<Option<f64>> {
    match device {
        Device::Cuda(ordinal) => Ok(Some(CudaDevice::of(ordinal)?.peak_bytes(true)? as f64)),
        _ => Ok(None),
    }
}

/// Parses the flags of a benchmark.
#[cfg(test)]
pub fn parsed<A: clap::Args>(words: &[&str]) -> A {
    let command = A::augment_args(clap::Command::new("bench").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
}
