//! `reproduce train`

use std::path::PathBuf;

use clap::Args as ClapArgs;
use qrnn::Result;
use qrnn::data::{IdOrder, Split};
use qrnn::interrupt::Interrupt;
use qrnn::model::{LmConfig, QrnnLm, SavedModel, Splits};
use qrnn::terminal;
use qrnn::train::{Memory, OptimizerKind, Recipe, Trainer};
use serde_json::json;
use tch::Kind;

use crate::group_flags::{GroupFlags, Member};
use crate::model_flags::{ComputeFlags, epochs, warn_missing_vocabulary};
use crate::preset;
use qrnn::command_line::{INTERRUPTED, Output, load_corpus, parsers};

/// The defaults are those of the entry: emsize 300, nhid 1800, bptt 300, batch size 40.
#[derive(Debug, ClapArgs)]
#[command(args_override_self = true, allow_negative_numbers = true, after_help = preset::list())]
pub struct Args {
    /// Published settings, listed below; explicit flags override them
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Folder with train.txt, valid.txt and test.txt (or wiki.*.tokens, or Hugging Face's
    /// train-*, validation-* and test-*.parquet) [default: the embedded synthetic language]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Order of token ids: first-appearance over train, valid and test as awd-lstm-lm, or frequency in the training
    /// text
    #[arg(long, value_parser = parsers::named::<IdOrder>, value_name = "ORDER", default_value = "first-appearance")]
    ids: IdOrder,
    /// Run folder, which receives weights, checkpoints, log and results
    #[arg(long, default_value = "runs/train")]
    out: PathBuf,
    /// Start from the weights of this model file, checkpoint or run folder
    #[arg(long)]
    init: Option<PathBuf>,
    /// Finetune the weights of this model file, checkpoint or run folder with averaged SGD, until the
    /// validation loss is worse than the best loss of more than --nonmono epochs ago
    #[arg(long, value_name = "FILE", conflicts_with = "init")]
    finetune: Option<PathBuf>,

    /// Embedding width
    #[arg(long, value_parser = parsers::size, default_value_t = 300, help_heading = "Model")]
    emsize: usize,
    /// Hidden width
    #[arg(long, value_parser = parsers::size, default_value_t = 1800, help_heading = "Model")]
    nhid: usize,
    /// Number of QRNN layers
    #[arg(long, value_parser = parsers::layers, default_value_t = 4, help_heading = "Model")]
    nlayers: usize,
    /// Softmax clusters: first token id of each tail cluster, none, or auto (as awd-lstm-lm chooses)
    #[arg(long, value_parser = parsers::named::<Splits>, default_value = "auto", help_heading = "Model")]
    splits: Splits,
    /// Widths of an adaptive embedding and softmax: of the words before the first boundary of --splits, then of each
    /// tail, at most --emsize, for example 300,75,5; needs --ids frequency [default: one embedding of width --emsize]
    #[arg(long, value_parser = parsers::size, value_delimiter = ',', value_name = "WIDTHS", help_heading = "Model")]
    widths: Option<Vec<usize>>,
    /// Dropout after the last layer (one mask for all time steps)
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.1, help_heading = "Model")]
    dropout: f64,
    /// Dropout between layers (one mask for all time steps)
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.1, help_heading = "Model")]
    dropouth: f64,
    /// Dropout of the embedded input (one mask for all time steps)
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.1, help_heading = "Model")]
    dropouti: f64,
    /// Dropout of whole words in the embedding matrix
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.0, help_heading = "Model")]
    dropoute: f64,
    /// Dropout of the weights of the QRNN layers
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.0, help_heading = "Model")]
    wdrop: f64,
    /// Zoneout probability of the forget gate
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.0, help_heading = "Model")]
    zoneout: f64,
    /// Initialize the embedding uniformly in [-INIT_RANGE, INIT_RANGE]
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.1, help_heading = "Model")]
    init_range: f64,

    /// Mean sequence length of a training step, in tokens
    #[arg(long, value_parser = parsers::size, default_value_t = 300, help_heading = "Recipe")]
    bptt: usize,
    /// Use exactly --bptt tokens in every step; --precision auto then means fp32
    #[arg(long, help_heading = "Recipe")]
    fixed_bptt: bool,
    /// Training batch size: number of parallel token streams
    #[arg(long, value_parser = parsers::size, alias = "batch_size", default_value_t = 40, help_heading = "Recipe")]
    batch_size: usize,
    /// Number of passes over the training text
    #[arg(long, value_parser = parsers::size, default_value_t = 20, help_heading = "Recipe")]
    epochs: usize,
    /// Stop after this number of steps
    #[arg(long, value_parser = parsers::steps, help_heading = "Recipe")]
    steps: Option<u64>,
    /// adam, sgd (switches to averaged SGD when the validation loss stalls) or asgd
    #[arg(long, value_parser = parsers::named::<OptimizerKind>, default_value = "adam", help_heading = "Recipe")]
    optimizer: OptimizerKind,
    /// Learning rate
    #[arg(long, value_parser = parsers::decimal, default_value_t = 1e-3, help_heading = "Recipe")]
    lr: f64,
    /// Epochs after which the learning rate is divided by 10; -1 for never
    #[arg(long, num_args = 1.., value_delimiter = ',', default_value = "12", help_heading = "Recipe")]
    #[arg(allow_negative_numbers = true, value_parser = parsers::epoch)]
    when: Vec<i64>,
    /// Maximum gradient norm; 0 disables clipping
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.25, help_heading = "Recipe")]
    clip: f64,
    /// Coefficient of activation regularization (AR): L2 penalty on the last layer's output
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.0, help_heading = "Recipe")]
    alpha: f64,
    /// Coefficient of temporal activation regularization (TAR): L2 penalty on its change over time
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.0, help_heading = "Recipe")]
    beta: f64,
    /// Weight decay (L2 penalty)
    #[arg(long, value_parser = parsers::decimal, default_value_t = 0.0, help_heading = "Recipe")]
    wdecay: f64,
    /// Epochs without a better validation loss before sgd switches to averaged SGD
    #[arg(long, value_parser = parsers::non_negative::<usize>, default_value_t = 5, help_heading = "Recipe")]
    nonmono: usize,
    /// Seed of initial weights, dropout masks and sequence lengths
    #[arg(long, value_parser = parsers::non_negative::<u64>, default_value_t = 1882, help_heading = "Recipe")]
    seed: u64,

    /// Continue the run in --out from its newest checkpoint, or start it if there is none
    #[arg(long, conflicts_with = "init")]
    resume: bool,
    /// Replace the run in --out
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Steps between checkpoints, in addition to one after each epoch [default: 1000 on the CPU, every 5
    /// minutes on a GPU]
    #[arg(long, value_parser = parsers::steps, value_name = "STEPS")]
    checkpoint_every: Option<u64>,
    /// Steps between log lines
    #[arg(long, value_parser = parsers::steps, default_value_t = 20)]
    log_interval: u64,

    #[command(flatten)]
    compute: ComputeFlags,
    #[command(flatten)]
    group: GroupFlags,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    pub json: bool,
}

impl Args {
    fn config(&self, vocab: usize) -> LmConfig {
        let config = LmConfig::paper(self.emsize, self.nhid)
            .vocab(vocab)
            .bptt(self.bptt)
            .layers(self.nlayers)
            .locked_dropouts(self.dropouti, self.dropouth, self.dropout)
            .embedding_dropout(self.dropoute)
            .weight_drop(self.wdrop)
            .zoneout(self.zoneout)
            .init_range(self.init_range)
            .splits(self.splits.clone());
        LmConfig { widths: self.widths.clone(), ..config }
    }

    fn recipe(&self) -> Result<Recipe> {
        let when = epochs(&self.when)?;
        let finetune = self.finetune.is_some();
        Ok(Recipe {
            bptt: self.bptt,
            fixed_bptt: self.fixed_bptt,
            batch: self.batch_size,
            epochs: self.epochs,
            steps: self.steps,
            lr: self.lr,
            when,
            clip: self.clip,
            alpha: self.alpha,
            beta: self.beta,
            wdecay: self.wdecay,
            optimizer: if finetune { OptimizerKind::Asgd } else { self.optimizer },
            finetune,
            nonmono: self.nonmono,
            seed: self.seed,
            ..Recipe::paper()
        })
    }
}

pub fn run(args: Args) -> Result<Output> {
    let interrupt = Interrupt::on_ctrl_c("finishing this step")?;
    let member = args.group.join(&interrupt)?;
    let result = train(&args, interrupt, &member);
    member.end(result)
}

fn train(args: &Args, interrupt: Interrupt, member: &Member) -> Result<Output> {
    preset::check(args.preset.as_deref(), args.finetune.is_some())?;
    let recipe = args.recipe()?;
    recipe.check()?;
    // All but the vocabulary is known before the corpus is read.
    let settings = args.config(parsers::LARGEST as usize);
    let known = match settings.splits {
        // The vocabulary decides how many clusters there are, and so how many widths.
        Splits::Auto => LmConfig { widths: None, ..settings.clone() },
        _ => settings.clone(),
    };
    known.check()?;
    settings.check_ids(args.ids)?;
    let device = args.compute.device_of_rank(member.local_rank())?;
    member.connect(device, &interrupt)?;
    // Losses of runs with --fixed-bptt are compared with a reference to 1e-4, so `auto` means fp32.
    let precision = if args.fixed_bptt {
        args.compute.precision(device)?
    } else {
        let tokens = recipe.bptt * recipe.batch;
        let multiplications = settings.layer_multiplications(tokens);
        args.compute.training_precision(device, multiplications)?
    };
    // The others of a group get the weights from rank 0, and need no file.
    let init = args.init.as_ref().or(args.finetune.as_ref()).filter(|_| member.is_main());
    let init = init.map(SavedModel::open).transpose()?;
    if let Some(init) = &init {
        init.check_sizes(&settings)?;
    }
    let corpus = load_corpus(args.data.clone())?.in_order(args.ids);
    terminal::note(format_args!("{corpus}\n{precision}"));
    let config = settings.vocab(corpus.vocab().len());
    let tokens = corpus.tokens(Split::Train).len();
    let own = Recipe { batch: member.columns(recipe.batch), ..recipe.clone() };
    Memory::estimate(&config, &own, tokens).check()?;
    let mut model = QrnnLm::seeded(&config, (Kind::Float, device), args.seed)?;
    model.set_precision(precision);
    model.adopt_vocab(&corpus);
    if let Some(init) = init {
        if init.vocab().is_none() {
            warn_missing_vocabulary(init.path(), &corpus);
        }
        init.load_into(&mut model)?;
    }
    let mut trainer = Trainer::new(recipe)
        .folder(&args.out)
        .resume(args.resume)
        .overwrite(args.overwrite)
        .log_every(args.log_interval)
        .interrupt(interrupt);
    if let Some(group) = &member.group {
        trainer = trainer.group(group);
    }
    if let Some(steps) = args.checkpoint_every {
        trainer = trainer.checkpoint_every(steps);
    }
    let run = trainer.fit(&mut model, &corpus)?;

    let json = run.to_json().unwrap_or_else(|error| json!(error.to_string()));
    let text = format!("{run}\nwrote weights, log and results to {}", args.out.display());
    Ok(Output { text, json, status: if run.interrupted { INTERRUPTED } else { 0 } })
}
