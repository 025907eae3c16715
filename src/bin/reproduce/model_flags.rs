//! Flags that several commands share: where to compute and how exactly, and which model.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use qrnn::command_line::require_cuda;
use qrnn::data::Corpus;
use qrnn::model::{QrnnLm, SavedModel, Splits};
use qrnn::terminal;
use qrnn::{Error, Result};
use qrnn_ops::matmul::Precision;
use tch::Device;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    Auto,
    Cpu,
    Cuda,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    Auto,
    Fp32,
    Tf32,
    Bf16,
}

#[derive(Debug, ClapArgs)]
pub struct ComputeFlags {
    /// Device
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Precision of matmuls and activations. auto: bf16 when training large models on CPUs with bf16
    /// support, otherwise fp32. Parameters, states, sums and losses stay fp32
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    precision: PrecisionChoice,
    /// Use torch's fp32 matmuls instead of the faster ones, for comparison
    #[arg(long)]
    plain: bool,
}

impl ComputeFlags {
    /// The device; `auto` uses a GPU where one is usable, and otherwise prints why not.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for CUDA where there is none.
    pub fn device(&self) -> Result<Device> {
        self.choose(|| {
            let (device, why) = qrnn_ops::device::cuda_or_cpu();
            if let Some(why) = why {
                terminal::note(format_args!("computing on the CPU: {}", why.replace('\n', " ")));
            }
            device
        })
    }

    /// [`ComputeFlags::device`] for models too small to gain from a GPU: `auto` is the CPU.
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
            DeviceChoice::Cuda => require_cuda(),
        }
    }

    /// Precision of an evaluation: fp32 by default, since its result is compared with others.
    ///
    /// # Errors
    /// As [`ComputeFlags::training_precision`].
    pub fn precision(&self, device: Device) -> Result<Precision> {
        match self.precision {
            PrecisionChoice::Auto if !self.plain => Ok(Precision::Single),
            _ => self.training_precision(device, 0),
        }
    }

    /// Precision of training; `multiplications`: in the largest layer of a step.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a precision that the device lacks, [`Error::Usage`] where --plain
    /// contradicts --precision.
    pub fn training_precision(&self, device: Device, multiplications: usize) -> Result<Precision> {
        match (self.precision, self.plain) {
            (PrecisionChoice::Auto | PrecisionChoice::Fp32, true) => Ok(Precision::Torch),
            (_, true) => Err(Error::usage(
                "--plain",
                "computes in fp32, and --precision names another one",
                "leave one of the two out",
            )),
            (PrecisionChoice::Auto, _) => Ok(Precision::automatic(device, multiplications)),
            (PrecisionChoice::Fp32, _) => Ok(Precision::Single),
            (PrecisionChoice::Bf16, _) if device.is_cuda() || Precision::has_bf16() => {
                Ok(Precision::Bf16)
            }
            (PrecisionChoice::Bf16, _) => {
                Err(unavailable("bf16", "this CPU has no instructions for it (avx512_bf16)"))
            }
            (PrecisionChoice::Tf32, _) if device.is_cuda() => Ok(Precision::Tf32),
            (PrecisionChoice::Tf32, _) => Err(unavailable("tf32", "only NVIDIA GPUs have it")),
        }
    }
}

fn unavailable(format: &str, problem: &str) -> Error {
    Error::Unavailable {
        what: format!("--precision {format}"),
        problem: problem.into(),
        remedy: "use --precision fp32 or auto".into(),
    }
}

/// A trained model.
#[derive(Debug, ClapArgs)]
pub struct CheckpointFlags {
    /// A model.safetensors, a checkpoint, or a run folder
    #[arg(long)]
    checkpoint: PathBuf,
    /// Softmax clusters, for a file without a configuration
    #[arg(long)]
    splits: Option<Splits>,
}

impl CheckpointFlags {
    /// Reads the file; prints which step, where a run folder has no finished epoch yet.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::BadFile`] naming the file.
    pub fn open(&self) -> Result<SavedModel> {
        let saved = SavedModel::open(&self.checkpoint)?;
        if let (Some(step), true) = (saved.step(), self.checkpoint.is_dir()) {
            terminal::note(format_args!(
                "no epoch is finished yet: these are the weights after step {step}"
            ));
        }
        Ok(saved)
    }

    /// # Errors
    /// As [`SavedModel::model`].
    pub fn model(&self, saved: SavedModel, device: Device) -> Result<QrnnLm> {
        saved.model(self.splits.as_ref(), device)
    }

    /// The corpus: a folder's, or the embedded language.
    ///
    /// # Errors
    /// [`Error::Usage`] where the model was trained on a folder and none is named; those of reading it.
    pub fn corpus(&self, saved: &SavedModel, data: Option<PathBuf>) -> Result<Corpus> {
        let synthetic = Corpus::synthetic();
        let other = |name: &&str| *name != synthetic.name();
        if let (None, Some(name)) = (&data, saved.corpus_name().filter(other)) {
            return Err(Error::usage(
                "--data",
                format!("is missing; the model was trained on {name}"),
                "name the folder of that text",
            ));
        }
        let corpus = match data {
            Some(folder) => Corpus::from_dir(folder)?,
            None => synthetic,
        };
        if saved.vocab().is_none() {
            say_unchecked(saved.path(), &corpus);
        }
        Ok(corpus)
    }
}

/// Warns that a file has no vocabulary to compare with a corpus.
pub fn say_unchecked(file: &Path, corpus: &Corpus) {
    terminal::note(format_args!(
        "{} has no vocabulary (version 0.1 or another program wrote it): it could not be compared with \
         that of {}",
        file.display(),
        corpus.name()
    ));
}
