//! `reproduce compress`

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use qrnn::compress::{Gradual, Plan, Preset, random_compressed_lm, zeros_by_sensitivity};
use qrnn::data::Corpus;
use qrnn::evaluate::neural_cache::NeuralCache;
use qrnn::interrupt::Interrupt;
use qrnn::model::{LmConfig, QrnnLm, SavedModel, Splits};
use qrnn::packed::Grid;
use qrnn::paper::compression::{CompressionStudy, train_dense};
use qrnn::paper::operation_counts::{ModelSize, OpCounter};
use qrnn::train::{Recipe, TrainingRun};
use qrnn::view::progress;
use qrnn::{Error, Result};
use qrnn_ops::matmul::Precision;
use serde_json::json;
use tch::Device;

use crate::model_flags::{ComputeFlags, corpus_of, epochs};
use qrnn::command_line::{INTERRUPTED, Output, load_corpus, parsers};

#[derive(Debug, ClapArgs)]
#[command(args_override_self = true, allow_negative_numbers = true)]
pub struct Args {
    /// model.safetensors, checkpoint file or run folder of the model [default: with --preset, a dense model is trained
    /// first, in OUT/dense]
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Folder of the corpus that the model was or will be trained on [default: the embedded synthetic language]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder that receives the compressed model and its results
    #[arg(long, default_value = "runs/compressed")]
    out: PathBuf,
    /// Plan that has a name: micronet (layers 60 % zeros) or light (80 %), both with weights and activations of 8 bits;
    /// explicit flags override it
    #[arg(long, value_parser = parsers::named::<Preset>)]
    preset: Option<Preset>,

    /// Fractions of zeros by the names of tensors or their beginnings, for example rnns=0.6,encoder.0=0.2
    #[arg(long, value_delimiter = ',', value_name = "NAME=FRACTION", help_heading = "Plan")]
    zeros: Vec<String>,
    /// Bits of weights, 2 to 8: of all, or by name, for example 8 or rnns=4,encoder=8 [default: 8]
    #[arg(long, value_delimiter = ',', value_name = "[NAME=]BITS", help_heading = "Plan")]
    bits: Vec<String>,
    /// Round weights to a codebook of 2^bits integers of 8 bits, chosen for each tensor, instead of to a uniform grid
    #[arg(long, help_heading = "Plan")]
    book: bool,
    /// Prune blocks of this many rows and one column
    #[arg(long, value_parser = parsers::positive::<usize>, default_value_t = 1, help_heading = "Plan")]
    block: usize,
    /// Use scales that are powers of two
    #[arg(long, help_heading = "Plan")]
    power_of_two: bool,
    /// Round the inputs of matrix products to this many bits, 2 to 8 [default: they are not rounded]
    #[arg(long, value_parser = parsers::non_negative::<u32>, help_heading = "Plan")]
    activation_bits: Option<u32>,

    /// Give each tensor as many zeros as it bears, so that this fraction of all prunable weights is 0: a binary search of
    /// the loss that pruning one tensor alone costs on the validation text. --zeros then names exceptions
    #[arg(long, value_parser = parsers::decimal, value_name = "FRACTION", help_heading = "Plan")]
    sensitivity: Option<f64>,
    /// Add a neural cache of this many tokens, whose λ and θ are searched on the validation text; 0 for none
    /// [default: none, or that of the preset]
    #[arg(long, value_parser = parsers::non_negative::<usize>, help_heading = "Plan")]
    cache: Option<usize>,

    /// Train nothing: prune and round the model as it is
    #[arg(long, help_heading = "Training")]
    one_shot: bool,
    /// Write a model of random weights and of the preset's full shape, to be counted and timed: nothing is trained
    #[arg(long, conflicts_with_all = ["checkpoint", "data", "one_shot", "resume", "sensitivity"], requires = "preset",
        help_heading = "Training")]
    random: bool,
    /// Passes over the training text
    #[arg(long, value_parser = parsers::size, default_value_t = 6, help_heading = "Training")]
    #[arg(conflicts_with = "one_shot")]
    epochs: usize,
    /// Stop after this number of steps
    #[arg(long, value_parser = parsers::steps, help_heading = "Training")]
    #[arg(conflicts_with = "one_shot")]
    steps: Option<u64>,
    /// Learning rate
    #[arg(long, value_parser = parsers::decimal, default_value_t = 3e-4, help_heading = "Training")]
    #[arg(conflicts_with = "one_shot")]
    lr: f64,
    /// Epochs after which the learning rate is divided by 10; -1 for never
    #[arg(long, num_args = 1.., value_delimiter = ',', default_value = "-1", help_heading = "Training")]
    #[arg(conflicts_with = "one_shot")]
    #[arg(allow_negative_numbers = true, value_parser = parsers::epoch)]
    when: Vec<i64>,
    /// Mean sequence length of a training step, in tokens [default: as in the model's training]
    #[arg(long, value_parser = parsers::size, help_heading = "Training")]
    bptt: Option<usize>,
    /// Training batch size
    #[arg(long, value_parser = parsers::size, default_value_t = 40, help_heading = "Training")]
    batch_size: usize,
    /// Steps between updates of masks and scales
    #[arg(long, value_parser = parsers::steps, default_value_t = 100, help_heading = "Training")]
    #[arg(conflicts_with = "one_shot")]
    prune_every: u64,
    /// Fraction of the run after which all zeros are there
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.7, help_heading = "Training")]
    #[arg(conflicts_with = "one_shot")]
    prune_until: f64,
    /// Seed of dropout masks and sequence lengths
    #[arg(long, value_parser = parsers::non_negative::<u64>, default_value_t = 1882, help_heading = "Training")]
    seed: u64,
    /// Continue the run in --out from its newest checkpoint, or start it if there is none
    #[arg(long, conflicts_with = "one_shot")]
    resume: bool,
    /// Replace the model in --out
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,

    /// Embedding width of the dense model [default: that of the preset]
    #[arg(long, value_parser = parsers::size, help_heading = "Dense model")]
    #[arg(conflicts_with = "checkpoint")]
    emsize: Option<usize>,
    /// Hidden width of the dense model [default: that of the preset]
    #[arg(long, value_parser = parsers::size, help_heading = "Dense model")]
    #[arg(conflicts_with = "checkpoint")]
    nhid: Option<usize>,
    /// Number of its QRNN layers [default: that of the preset]
    #[arg(long, value_parser = parsers::layers, help_heading = "Dense model")]
    #[arg(conflicts_with = "checkpoint")]
    nlayers: Option<usize>,
    /// First token id of each of its tail clusters [default: those of the preset]
    #[arg(long, value_parser = parsers::named::<Splits>, help_heading = "Dense model")]
    splits: Option<Splits>,
    /// Embedding widths of its clusters [default: those of the preset]
    #[arg(long, value_delimiter = ',', value_parser = parsers::size, help_heading = "Dense model")]
    #[arg(conflicts_with = "checkpoint")]
    widths: Option<Vec<usize>>,
    /// Passes over the training text before the compression
    #[arg(long, value_parser = parsers::size, default_value_t = 20, help_heading = "Dense model")]
    #[arg(conflicts_with = "checkpoint")]
    dense_epochs: usize,
    /// Learning rate before the compression, divided by 10 after 60 % of the epochs
    #[arg(long, value_parser = parsers::decimal, default_value_t = 1e-3, help_heading = "Dense model")]
    #[arg(conflicts_with = "checkpoint")]
    dense_lr: f64,

    #[command(flatten)]
    compute: ComputeFlags,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: Args) -> Result<Output> {
    if let (true, Some(preset)) = (args.random, args.preset) {
        return args.write_random(preset);
    }
    let device = args.compute.device()?;
    let cache = args.cache.or(args.preset.map(Preset::cache)).filter(|&tokens| tokens > 0);
    if let Some(tokens) = cache {
        NeuralCache::new(tokens, 0.0, 0.0)?;
    }
    args.check_folder()?;
    let interrupt = Interrupt::on_ctrl_c("finishing this step")?;
    let (mut model, corpus) = match &args.checkpoint {
        Some(path) => {
            let saved = SavedModel::open(path)?;
            saved.check_trainable()?;
            let corpus = corpus_of(&saved, args.data.clone())?;
            (saved.model(args.splits.as_ref(), device)?, corpus)
        }
        None => match args.train_dense(device, &interrupt)? {
            (_, _, run) if run.interrupted => {
                let text = format!("interrupted while the dense model was trained: {run}");
                return Ok(Output {
                    text,
                    json: json!({ "interrupted": true }),
                    status: INTERRUPTED,
                });
            }
            (model, corpus, _) => (model, corpus),
        },
    };
    let recipe = args.recipe(model.config().bptt)?;
    let precision = args.precision(model.config(), &recipe, device)?;
    model.set_precision(precision);
    let plan = args.plan(&model, &corpus, &interrupt)?;
    let gradual = Gradual { plan, until: args.prune_until, every: args.prune_every };
    let study = if args.one_shot {
        CompressionStudy::one_shot(gradual.plan)
    } else {
        CompressionStudy::trained(gradual, recipe)
    };
    let results = study
        .cache(cache)
        .folder(&args.out)
        .resume(args.resume)
        .overwrite(args.overwrite)
        .interrupt(interrupt)
        .run(&mut model, &corpus)?;
    let out = args.out.display();
    let outcome = match (results.interrupted, args.one_shot) {
        (true, false) => format!("the same command with --resume goes on in {out}"),
        (true, true) if results.file_bytes == 0 => "nothing was written".to_owned(),
        _ => format!("wrote the compressed model to {out}"),
    };
    let text = format!("{results}\n{outcome}");
    let status = if results.interrupted { INTERRUPTED } else { 0 };
    Ok(Output { text, json: json!(results), status })
}

impl Args {
    /// Checks that the compressed model does not take the place of the model that it is made from.
    fn check_folder(&self) -> Result<()> {
        let Some(model) = &self.checkpoint else { return Ok(()) };
        let folder = if model.is_dir() { Some(model.as_path()) } else { model.parent() };
        let place = |path: &Path| path.canonicalize().ok();
        match folder.and_then(place) {
            Some(folder) if Some(&folder) == place(&self.out).as_ref() => Err(Error::config(
                "--out",
                self.out.display(),
                "is the folder of the model to compress, which would be lost",
                "name another folder",
            )),
            _ => Ok(()),
        }
    }

    /// Writes a model of random weights, and counts it.
    fn write_random(&self, preset: Preset) -> Result<Output> {
        let config = self.config(preset);
        let plan = self.flags_of(preset.plan(&config))?;
        CompressionStudy::one_shot(plan.clone())
            .folder(&self.out)
            .overwrite(self.overwrite)
            .check_folder()?;
        let mut model = random_compressed_lm(&config, &plan, &[], self.seed)?;
        if let Some(size) = self.cache.or(Some(preset.cache())).filter(|&size| size > 0) {
            // Stand-ins: nothing was searched.
            model.set_cache(&NeuralCache::new(size, 0.1, 0.3)?)?;
        }
        model.save(&self.out)?;
        let table = OpCounter::rules().count_compressed(&model)?;
        let text = format!(
            "{model}\n{table}\nrandom weights in {}: counted, not trained",
            self.out.display()
        );
        Ok(Output::done(text, json!(table)))
    }

    /// The dense model of a preset.
    fn train_dense(
        &self,
        device: Device,
        interrupt: &Interrupt,
    ) -> Result<(QrnnLm, Corpus, TrainingRun)> {
        let Some(preset) = self.preset else {
            return Err(Error::config(
                "--checkpoint",
                "",
                "is missing, and no preset says which model to train",
                "name the model to compress, or give --preset micronet or light",
            ));
        };
        let config = self.config(preset);
        // Before hours of training.
        ModelSize::pruned(&config, &self.flags_of(preset.plan(&config))?)?;
        let recipe = Recipe {
            bptt: config.bptt,
            batch: self.batch_size,
            epochs: self.dense_epochs,
            lr: self.dense_lr,
            when: vec![(self.dense_epochs * 3 / 5).max(1)],
            seed: self.seed,
            ..Recipe::paper()
        };
        let corpus = load_corpus(self.data.clone())?.by_frequency();
        let precision = self.precision(&config, &recipe, device)?;
        let (folder, progress) = (self.out.join("dense"), &mut *progress::here());
        let settings = (&config, &recipe);
        let (model, run) =
            train_dense(settings, &corpus, (device, precision), &folder, interrupt, progress)?;
        Ok((model, corpus, run))
    }

    /// The configuration of a preset, with the sizes that flags give.
    fn config(&self, preset: Preset) -> LmConfig {
        let config = preset.config();
        LmConfig {
            emsize: self.emsize.unwrap_or(config.emsize),
            nhid: self.nhid.unwrap_or(config.nhid),
            layers: self.nlayers.unwrap_or(config.layers),
            bptt: self.bptt.unwrap_or(config.bptt),
            splits: self.splits.clone().unwrap_or(config.splits.clone()),
            widths: self.widths.clone().or(config.widths.clone()),
            ..config
        }
    }

    fn precision(&self, config: &LmConfig, recipe: &Recipe, device: Device) -> Result<Precision> {
        let tokens = recipe.bptt * recipe.batch;
        self.compute.training_precision(device, config.layer_multiplications(tokens))
    }

    fn plan(&self, model: &QrnnLm, corpus: &Corpus, interrupt: &Interrupt) -> Result<Plan> {
        let mut plan = self.preset.map_or_else(Plan::new, |preset| preset.plan(model.config()));
        // Before a search.
        self.flags_of(plan.clone())?.of_model(model)?;
        if let Some(fraction) = self.sensitivity {
            let progress = &mut *progress::here();
            let zeros = zeros_by_sensitivity(model, corpus, fraction, interrupt, progress)?;
            plan = zeros.into_iter().fold(plan, |plan, (name, zeros)| plan.zeros(name, zeros));
        }
        self.flags_of(plan)
    }

    /// A plan with what the flags change.
    fn flags_of(&self, mut plan: Plan) -> Result<Plan> {
        for text in &self.zeros {
            let (name, fraction) = named_value("--zeros", text, "rnns=0.6")?;
            plan = plan.zeros(name, fraction);
        }
        for text in &self.bits {
            let (name, bits) = match text.contains('=') {
                true => named_value("--bits", text, "rnns=4")?,
                false => named_value("--bits", &format!("={text}"), "8")?,
            };
            plan = plan.bits(name, bits);
        }
        if self.book {
            plan = plan.weights(Grid::Codebook);
        }
        if self.block > 1 {
            plan = plan.block(self.block);
        }
        if self.power_of_two {
            plan = plan.power_of_two(true);
        }
        if let Some(bits) = self.activation_bits {
            plan = plan.activation_bits(bits);
        }
        Ok(plan)
    }

    fn recipe(&self, bptt: usize) -> Result<Recipe> {
        let recipe = Recipe {
            bptt: self.bptt.unwrap_or(bptt),
            batch: self.batch_size,
            epochs: self.epochs,
            steps: self.steps,
            lr: self.lr,
            when: epochs(&self.when)?,
            seed: self.seed,
            ..Recipe::paper()
        };
        recipe.check()?;
        Ok(recipe)
    }
}

/// Splits NAME=VALUE.
fn named_value<T: std::str::FromStr>(flag: &str, text: &str, example: &str) -> Result<(String, T)> {
    let parts = text
        .split_once('=')
        .and_then(|(name, value)| Some((name.trim().to_owned(), value.trim().parse().ok()?)));
    parts.ok_or_else(|| {
        Error::config(
            flag,
            text.trim_start_matches('='),
            "is not a name and a number",
            format!("give for example {example}"),
        )
    })
}
