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
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Number format of the matrix products and of what lies between them; auto is bf16 for training of
    /// models that are not small where the CPU multiplies it, else fp32. Weights, what is carried, sums and losses are in fp32
    /// always
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    precision: PrecisionChoice,
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
            let (device, why) = qrnn_ops::device::cuda_or_cpu();
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
            DeviceChoice::Cuda => require_cuda(),
        }
    }

    /// How the matrix products of an evaluation are to be computed: in fp32 where nothing is said,
    /// since its result is a figure to be compared.
    ///
    /// # Errors
    /// As [`ComputeFlags::training_precision`].
    pub fn precision(&self, device: Device) -> Result<Precision> {
        match self.precision {
            PrecisionChoice::Auto if !self.plain => Ok(Precision::Single),
            _ => self.training_precision(device, 0),
        }
    }

    /// How those of training are to be computed, with so many multiplications in a step's largest layer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a format that the device does not multiply, [`Error::Usage`] where
    /// --plain contradicts --precision.
    pub fn training_precision(&self, device: Device, multiplications: usize) -> Result<Precision> {
        match (self.precision, self.plain) {
            (PrecisionChoice::Auto | PrecisionChoice::Fp32, true) => Ok(Precision::Torch),
            (_, true) => Err(Error::usage(
                "--plain",
                "computes in fp32, and --precision asks for another format",
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
            (PrecisionChoice::Tf32, _) => Err(unavailable("tf32", "it is a format of NVIDIA GPUs")),
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

/// A trained model, and what its file says of it.
#[derive(Debug, ClapArgs)]
pub struct CheckpointFlags {
    /// A model.safetensors, a checkpoint, or the folder of a run
    #[arg(long)]
    checkpoint: PathBuf,
    /// Softmax clusters, where neither the file nor a config.json beside it tells them
    #[arg(long)]
    splits: Option<Splits>,
}

impl CheckpointFlags {
    /// Reads the file; says which, where a folder holds no finished epoch's weights.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::BadFile`] naming the file.
    pub fn open(&self) -> Result<SavedModel> {
        let saved = SavedModel::open(&self.checkpoint)?;
        if let (Some(step), true) = (saved.step(), self.checkpoint.is_dir()) {
            terminal::note(format_args!(
                "no epoch has ended yet: these are the weights after step {step}"
            ));
        }
        Ok(saved)
    }

    /// # Errors
    /// As [`SavedModel::model`].
    pub fn model(&self, saved: SavedModel, device: Device) -> Result<QrnnLm> {
        saved.model(self.splits.as_ref(), device)
    }

    /// The text that the model is to meet: the folder, or the embedded language.
    ///
    /// # Errors
    /// [`Error::Usage`] where the model was trained on a folder that is now to be named; those of
    /// reading it.
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

/// Says that the words of a file are not known.
pub fn say_unchecked(file: &Path, corpus: &Corpus) {
    terminal::note(format_args!(
        "{} does not hold the words of its model (version 0.1 or another program wrote it): that they \
         are those of {} could not be checked",
        file.display(),
        corpus.name()
    ));
}
