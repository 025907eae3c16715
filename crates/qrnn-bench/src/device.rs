//! The device of a benchmark.

use qrnn::Result;
use qrnn_ops::cuda::CudaDevice;
use tch::Device;

use qrnn::command_line::require_cuda;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DeviceChoice {
    Cpu,
    Cuda,
}

#[derive(Debug, Clone, clap::Args)]
pub struct DeviceFlags {
    /// Device to measure; on a GPU, options default to the entry's values
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// Run the GPU benchmark on the CPU, to test it without a GPU
    #[arg(long = "as-on-a-card", hide = true)]
    gpu_path_on_cpu: bool,
}

impl DeviceFlags {
    /// Whether `--device cuda` is set.
    pub fn is_cuda(&self) -> bool {
        self.device == DeviceChoice::Cuda
    }

    /// The device of the GPU benchmark; `None` for the CPU benchmark.
    ///
    /// # Errors
    /// [`qrnn::Error::Unavailable`] if there is no GPU.
    pub fn gpu_path(&self) -> Result<Option<Device>> {
        match self.device {
            DeviceChoice::Cuda => Ok(Some(require_cuda()?)),
            DeviceChoice::Cpu => Ok(self.gpu_path_on_cpu.then_some(Device::Cpu)),
        }
    }
}

/// The name of a device in measurements.
///
/// # Errors
/// [`qrnn::Error::Unavailable`] if the GPU is no longer available.
pub fn name(device: Device) -> Result<String> {
    match device {
        Device::Cuda(ordinal) => Ok(CudaDevice::of(ordinal)?.name()?),
        _ => Ok(format!("the CPU, {} threads", tch::get_num_threads())),
    }
}

/// Peak memory of tensors on a GPU since the last call, in bytes; `None` on the CPU.
///
/// # Errors
/// [`qrnn::Error::Ops`] if libtorch fails.
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
