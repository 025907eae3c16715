//! Flags that several commands share: device, precision and model file.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use qrnn::command_line::{parsers, require_cuda};
use qrnn::data::Corpus;
use qrnn::model::{QrnnLm, SavedModel, Splits};
use qrnn::terminal;
use qrnn::{Error, Result};
use qrnn_ops::matmul::Precision;
use tch::Device;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    Auto,
    Cpu,
    /// The GPU of this number; `None` for the first, or in a group of processes for that of this process.
    Cuda(Option<usize>),
}

impl DeviceChoice {
    fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.strip_prefix("cuda:")?.parse().ok();
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(None)),
            _ => number(text)
                .map(|number| Self::Cuda(Some(number)))
                .ok_or_else(|| "give auto, cpu, cuda, or cuda:N for GPU number N".to_owned()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    Auto,
    Fp32,
    Tf32,
    Bf16,
}

#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct DeviceFlags {
    /// Device: auto (a CUDA GPU if one is usable), cpu, cuda, or cuda:N for GPU number N, counted from 0
    #[arg(long, value_parser = DeviceChoice::parse, default_value = "auto")]
    device: DeviceChoice,
}

impl DeviceFlags {
    /// The device; `auto` uses a GPU if one is usable, and otherwise prints the reason. That of a process of a group is
    /// the GPU of its number among the processes of its machine.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for `cuda` without a usable GPU.
    pub fn of_rank(self, local_rank: Option<usize>) -> Result<Device> {
        let number = local_rank.map_or(0, qrnn_ops::device::number_for_rank);
        self.choose(number, || {
            let (device, why) = qrnn_ops::device::cuda_or_cpu(number);
            if let Some(why) = why {
                terminal::note(format_args!("computing on the CPU: {}", why.replace('\n', " ")));
            }
            device
        })
    }

    /// * `number`: of the GPU for `cuda` without a number.
    fn choose(self, number: usize, auto: impl FnOnce() -> Device) -> Result<Device> {
        match self.device {
            DeviceChoice::Cpu => Ok(Device::Cpu),
            DeviceChoice::Auto => Ok(auto()),
            DeviceChoice::Cuda(given) => require_cuda(given.unwrap_or(number)),
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct ComputeFlags {
    #[command(flatten)]
    device: DeviceFlags,
    /// Precision of matrix products and activations. auto: bf16 when training on GPUs from Ampere on, or large
    /// models on CPUs with bf16 support; integers for compressed models on the CPU; otherwise fp32. Parameters,
    /// states, sums and losses stay fp32
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    precision: PrecisionChoice,
    /// Use torch's fp32 matrix products instead of the faster ones, for comparison
    #[arg(long)]
    plain: bool,
}

impl ComputeFlags {
    /// The device; `auto` uses a GPU if one is usable, and otherwise prints the reason.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for `cuda` without a usable GPU.
    pub fn device(&self) -> Result<Device> {
        self.device.of_rank(None)
    }

    /// As [`DeviceFlags::of_rank`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] for `cuda` without a usable GPU.
    pub fn device_of_rank(&self, local_rank: Option<usize>) -> Result<Device> {
        self.device.of_rank(local_rank)
    }

    /// Like [`ComputeFlags::device`], for models too small to gain from a GPU: `auto` is the CPU.
    ///
    /// # Errors
    /// As [`ComputeFlags::device`].
    pub fn device_for_small_models(&self) -> Result<Device> {
        self.device.choose(0, || Device::Cpu)
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

    /// Sets how an opened model computes: in the precision of [`ComputeFlags::precision`], and a compressed model with
    /// the integers that it stores unless a flag asks for fp32.
    ///
    /// # Errors
    /// As [`ComputeFlags::precision`]; [`Error::Config`] for another precision than fp32 and a compressed model.
    pub fn apply_to(&self, model: &mut QrnnLm) -> Result<()> {
        let precision = self.precision(model.options().1)?;
        if model.packed().is_some() && !matches!(precision, Precision::Single | Precision::Torch) {
            return Err(Error::config(
                "--precision",
                self.precision
                    .to_possible_value()
                    .map_or_else(String::new, |v| v.get_name().into()),
                "would round the weights of a compressed model a second time",
                "use --precision auto, or fp32 to compute with the decoded weights",
            ));
        }
        model.set_precision(precision);
        model.use_packed_products(self.precision == PrecisionChoice::Auto && !self.plain);
        Ok(())
    }

    /// Precision of training, where `multiplications` is the number of multiplications of the largest layer
    /// in one step.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a precision that the device lacks, [`Error::Config`] if --plain
    /// contradicts --precision.
    pub fn training_precision(&self, device: Device, multiplications: usize) -> Result<Precision> {
        match (self.precision, self.plain) {
            (PrecisionChoice::Auto | PrecisionChoice::Fp32, true) => Ok(Precision::Torch),
            (_, true) => Err(Error::config(
                "--plain",
                "",
                "computes in fp32, but --precision names another precision",
                "leave out one of the two flags",
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

fn unavailable(precision: &str, problem: &str) -> Error {
    Error::Unavailable {
        what: format!("--precision {precision}"),
        problem: problem.into(),
        remedy: "use --precision fp32 or auto".into(),
    }
}

/// Flags that name a trained model.
#[derive(Debug, ClapArgs)]
pub struct CheckpointFlags {
    /// model.safetensors, checkpoint file or run folder of the model
    #[arg(long)]
    checkpoint: PathBuf,
    /// Softmax clusters, if the model file has no configuration
    #[arg(long, value_parser = parsers::named::<Splits>)]
    splits: Option<Splits>,
}

impl CheckpointFlags {
    /// Opens the file; for a run folder without a finished epoch, prints the step of the weights.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::BadFile`] naming the file.
    pub fn open(&self) -> Result<SavedModel> {
        let saved = SavedModel::open(&self.checkpoint)?;
        if let (Some(step), true) = (saved.step(), self.checkpoint.is_dir()) {
            terminal::note(format_args!(
                "no epoch is finished yet: using the weights after step {step}"
            ));
        }
        Ok(saved)
    }

    /// # Errors
    /// As [`SavedModel::model`].
    pub fn model(&self, saved: SavedModel, device: Device) -> Result<QrnnLm> {
        saved.model(self.splits.as_ref(), device)
    }
}

/// Loads the corpus of a folder, or the embedded language, with its ids in the order of the model's.
///
/// # Errors
/// [`Error::Config`] if the model was trained on a folder and `data` is `None`; those of
/// [`Corpus::from_dir`].
pub fn corpus_of(saved: &SavedModel, data: Option<PathBuf>) -> Result<Corpus> {
    let synthetic = Corpus::synthetic();
    let other = |name: &&str| *name != synthetic.name();
    if let (None, Some(name)) = (&data, saved.corpus_name().filter(other)) {
        return Err(Error::config(
            "--data",
            "",
            format!("is missing; the model was trained on {name}"),
            "name the folder of that corpus",
        ));
    }
    let corpus = match data {
        Some(folder) => Corpus::from_dir(folder)?,
        None => synthetic,
    };
    let corpus = corpus.in_order(saved.ids().unwrap_or_default());
    saved.check_words(&corpus)?;
    if saved.vocab().is_none() && !saved.is_compressed() {
        warn_missing_vocabulary(saved.path(), &corpus);
    }
    Ok(corpus)
}

/// Warns that a model file has no vocabulary to compare with that of the corpus.
pub fn warn_missing_vocabulary(file: &Path, corpus: &Corpus) {
    terminal::note(format_args!(
        "{} has no vocabulary (written by version 0.1 or another program): it could not be compared with \
         the vocabulary of {}",
        file.display(),
        corpus.name()
    ));
}

/// The epochs of `--when`: in awd-lstm-lm, -1 alone means never.
///
/// # Errors
/// [`Error::Config`] for a negative epoch.
pub fn epochs(when: &[i64]) -> Result<Vec<usize>> {
    let epoch = |&epoch: &i64| {
        usize::try_from(epoch).map_err(|_| {
            Error::config(
                "--when",
                epoch,
                "epochs are counted from 1",
                "give the epochs after which the learning rate is divided by 10, or only -1 for never",
            )
        })
    };
    when.iter().filter(|_| when != [-1]).map(epoch).collect()
}
