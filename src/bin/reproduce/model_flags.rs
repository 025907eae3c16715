//! Flags that several commands share: where to compute and how exactly, and which model.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use qrnn::matmul::Products;
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::terminal;
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
    /// Number format of the matrix products and of what lies between them; auto is bf16 for training of
    /// models that are not small where the CPU multiplies it, else fp32. Weights, what is carried, sums and losses are in fp32
    /// always
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    precision: Precision,
    /// Torch's own matrix products in fp32, in place of the faster ones, to compare
    #[arg(long)]
    plain: bool,
}

impl ComputeFlags {
    /// Where to compute; `auto` takes a card where there is one that can be used, and else says in a
    /// line why not.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for CUDA where there is none.
    pub fn device(&self) -> Result<Device> {
        self.choose(|| {
            let (device, why) = cuda::device_or_cpu();
            if let Some(why) = why {
                terminal::note(format_args!("computing on the CPU: {}", why.replace('\n', " ")));
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
        match self.device {
            DeviceChoice::Cpu => Ok(Device::Cpu),
            DeviceChoice::Auto => Ok(auto()),
            DeviceChoice::Cuda => card(),
        }
    }

    /// How the matrix products of an evaluation are to be computed: in fp32 where nothing is said,
    /// since its result is a figure to be compared.
    ///
    /// # Errors
    /// As [`ComputeFlags::training_products`].
    pub fn products(&self, device: Device) -> Result<Products> {
        match self.precision {
            Precision::Auto if !self.plain => Ok(Products::Single),
            _ => self.training_products(device, 0),
        }
    }

    /// How those of training are to be computed, with so many multiplications in a step's largest layer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a format that the device does not multiply, [`Error::Usage`] where
    /// --plain contradicts --precision.
    pub fn training_products(&self, device: Device, multiplications: usize) -> Result<Products> {
        match (self.precision, self.plain) {
            (Precision::Auto | Precision::Fp32, true) => Ok(Products::Torch),
            (_, true) => Err(Error::usage(
                "--plain",
                "computes in fp32, and --precision asks for another format",
                "leave one of the two out",
            )),
            (Precision::Auto, _) => Ok(Products::automatic(device, multiplications)),
            (Precision::Fp32, _) => Ok(Products::Single),
            (Precision::Bf16, _) if device.is_cuda() || Products::has_bf16() => Ok(Products::Bf16),
            (Precision::Bf16, _) => {
                Err(unavailable("bf16", "this CPU has no instructions for it (avx512_bf16)"))
            }
            (Precision::Tf32, _) if device.is_cuda() => Ok(Products::Tf32),
            (Precision::Tf32, _) => Err(unavailable("tf32", "it is a format of NVIDIA GPUs")),
        }
    }
}

/// The first card, for --device cuda.
///
/// # Errors
/// [`Error::Unavailable`] where there is none that can be used.
pub fn card() -> Result<Device> {
    cuda::device().map_err(|error| match error {
        Error::Unavailable { problem, remedy, .. } => {
            Error::Unavailable { what: "--device cuda".into(), problem, remedy }
        }
        other => other,
    })
}

fn unavailable(format: &str, problem: &str) -> Error {
    Error::Unavailable {
        what: format!("--precision {format}"),
        problem: problem.into(),
        remedy: "use --precision fp32 or auto".into(),
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
