//! Flags that several commands share: where to compute and how exactly, and which model.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::train::RunDir;
use qrnn::{Error, Result, cuda};
use tch::Device;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    Auto,
    Cpu,
    Cuda,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    Auto,
    Fp32,
    Tf32,
    Bf16,
}

#[derive(Debug, ClapArgs)]
pub struct ComputeFlags {
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Number format of the matrix products; auto is fp32 on the CPU
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    precision: Precision,
}

impl ComputeFlags {
    /// Where to compute; `auto` takes a card where there is one that can be used, and else says in a
    /// line why not.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for CUDA where there is none, and for a precision that this version
    /// does not compute in.
    pub fn device(&self) -> Result<Device> {
        self.choose(|| {
            let (device, why) = cuda::device_or_cpu();
            if let Some(why) = why {
                eprintln!("computing on the CPU: {}", why.replace('\n', " "));
            }
            device
        })
    }

    /// [`ComputeFlags::device`] for models so small that a card would gain nothing: `auto` is the CPU.
    ///
    /// # Errors
    /// As [`ComputeFlags::device`].
    pub fn device_for_small_models(&self) -> Result<Device> {
        self.choose(|| Device::Cpu)
    }

    fn choose(&self, auto: impl FnOnce() -> Device) -> Result<Device> {
        let format = match self.precision {
            Precision::Auto | Precision::Fp32 => None,
            Precision::Tf32 => Some(("tf32", "it is a format of NVIDIA GPUs")),
            Precision::Bf16 => Some(("bf16", "this version computes in fp32 on the CPU")),
        };
        if let Some((name, problem)) = format {
            return Err(Error::Unavailable {
                what: format!("--precision {name}"),
                problem: problem.into(),
                remedy: "use --precision fp32 or auto".into(),
            });
        }
        match self.device {
            DeviceChoice::Cpu => Ok(Device::Cpu),
            DeviceChoice::Auto => Ok(auto()),
            DeviceChoice::Cuda => cuda::device().map_err(|error| match error {
                Error::Unavailable { problem, remedy, .. } => {
                    Error::Unavailable { what: "--device cuda".into(), problem, remedy }
                }
                other => other,
            }),
        }
    }
}

/// A trained model, and what its folder says of it.
#[derive(Debug, ClapArgs)]
pub struct CheckpointFlags {
    /// A model.safetensors, or the folder of a run
    #[arg(long)]
    checkpoint: PathBuf,
    /// Softmax clusters, where no config.json beside the weights tells them
    #[arg(long)]
    splits: Option<Splits>,
}

impl CheckpointFlags {
    /// Loads the model; its dropouts, splits and windows come from the config.json beside it, if
    /// there is one, its sizes from the weights.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::BadFile`] naming the file.
    pub fn load(&self, device: Device) -> Result<QrnnLm> {
        let file = if self.checkpoint.is_dir() {
            self.checkpoint.join("model.safetensors")
        } else {
            self.checkpoint.clone()
        };
        let mut settings = match RunDir::config_beside(&file)? {
            Some(config) => config.model.bptt(config.recipe.bptt),
            None => LmConfig::paper(1, 1).locked_dropouts(0.0, 0.0, 0.0),
        };
        if let Some(splits) = &self.splits {
            settings.splits = splits.clone();
        }
        QrnnLm::from_file(&file, &settings, device)
    }

    /// # Errors
    /// [`Error::Usage`] where the model was trained on a folder that is now to be named.
    pub fn check_data(&self, data: Option<&Path>) -> Result<()> {
        let file = self.checkpoint.join("model.safetensors");
        let file = if self.checkpoint.is_dir() { &file } else { &self.checkpoint };
        match (data, RunDir::config_beside(file)?) {
            (None, Some(config)) if config.corpus != qrnn::corpus::Corpus::synthetic().name() => {
                Err(Error::usage(
                    "--data",
                    format!("is missing; the model was trained on {}", config.corpus),
                    "name the folder of that text",
                ))
            }
            _ => Ok(()),
        }
    }
}
