//! Where to measure.

use qrnn::Result;
use qrnn_ops::cuda::CudaDevice;
use tch::Device;

use qrnn::command_line::require_cuda;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Place {
    Cpu,
    Cuda,
}

#[derive(Debug, Clone, clap::Args)]
pub struct DeviceFlags {
    /// Where to measure; on a GPU, options that are left out default to the entry's values
    #[arg(long, value_enum, default_value_t = Place::Cpu)]
    device: Place,
    /// Measure on the CPU as on a GPU: to try that where there is none
    #[arg(long, hide = true)]
    as_on_a_card: bool,
}

impl DeviceFlags {
    /// Whether a GPU was asked for.
    pub fn is_cuda(&self) -> bool {
        self.device == Place::Cuda
    }

    /// The device to be measured as a GPU is; `None` for the CPU in its own way.
    ///
    /// # Errors
    /// [`qrnn::Error::Unavailable`] where there is no GPU.
    pub fn card(&self) -> Result<Option<Device>> {
        match self.device {
            Place::Cuda => Ok(Some(require_cuda()?)),
            Place::Cpu => Ok(self.as_on_a_card.then_some(Device::Cpu)),
        }
    }
}

/// The device as a measurement names it.
///
/// # Errors
/// [`qrnn::Error::Unavailable`] where the GPU has gone.
pub fn name(device: Device) -> Result<String> {
    match device {
        Device::Cuda(ordinal) => Ok(CudaDevice::of(ordinal)?.name()?),
        _ => Ok(format!("the CPU, {} threads", tch::get_num_threads())),
    }
}

/// The most memory that tensors took on a GPU since the last call, in bytes; `None` on the CPU.
///
/// # Errors
/// [`qrnn::Error::Ops`] where libtorch does not tell.
pub fn peak_bytes(device: Device) -> Result<Option<f64>> {
    match device {
        Device::Cuda(ordinal) => Ok(Some(CudaDevice::of(ordinal)?.peak_bytes(true)? as f64)),
        _ => Ok(None),
    }
}

/// The flags of a benchmark as they come out of words.
#[cfg(test)]
pub fn parsed<A: clap::Args>(words: &[&str]) -> A {
    let command = A::augment_args(clap::Command::new("bench").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
}
