//! `reproduce bench evaluate`

mod cuda;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use qrnn::data::{Corpus, Split};
use qrnn::evaluate::{Reading, evaluate_as};
use qrnn::model::{LmConfig, QrnnLm, Splits, WIKITEXT103_VOCAB};
use qrnn::terminal;
use qrnn::{Error, Result, paper};
use qrnn_ops::profile;
use serde_json::json;
use tch::{Device, Kind};

use crate::baselines::step::Mode;
use crate::baselines::{Chosen, PeerFlags};
use crate::device::DeviceFlags;
use crate::precision::{self, Format};
use crate::report::{RecordFlags, Report};
use crate::torch_model::{self, TorchModel, write_inputs};
use crate::{median, products, random_tokens};
use qrnn::command_line::Output;
use qrnn::command_line::numbers;

/// The window in words.
const WINDOW: usize = 140;

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Folder with valid.txt and test.txt of WikiText-103 (or wiki.*.tokens)
    #[arg(long, default_value = "../shared/data/wikitext-103")]
    data: PathBuf,
    /// Only the first words of the test text; on a card all
    #[arg(long, value_parser = numbers::size, default_value_t = 14_000, default_value_if("device", "cuda", "245569"))]
    tokens: usize,
    /// Formats of the matrix products: fp32, bf16, on a card tf32, or torch for torch's own in fp32
    #[arg(long, value_delimiter = ',', default_value = "fp32,bf16")]
    #[arg(default_value_if("device", "cuda", "fp32,tf32,bf16"))]
    formats: Vec<Format>,
    /// Times that each is measured, in turns
    #[arg(long, value_parser = numbers::times::<u32>, default_value_t = 3)]
    runs: u32,
    /// PyTorch implementations to compare with on a GPU: none, or some of published,tf32,tuned
    #[arg(long, default_value = "published,tf32,tuned")]
    peers: Chosen<Mode>,
    #[command(flatten)]
    peer_flags: PeerFlags,
    #[command(flatten)]
    record: RecordFlags,
    /// Words of PyTorch's windows on a card
    #[arg(long, value_parser = numbers::size, default_value_t = 300)]
    bptt: usize,
    /// Word types of ids that are made for a card, in place of a text
    #[arg(long, value_parser = numbers::size)]
    types: Option<usize>,
    /// First words of the softmax's tails, on a card
    #[arg(long, value_delimiter = ',')]
    splits: Option<Vec<usize>>,
    /// Another width of embedding and layers, on a card
    #[arg(long, hide = true, value_name = "EMSIZE-NHID", value_parser = widths)]
    model: Option<(usize, usize)>,
    #[command(flatten)]
    device: DeviceFlags,
}

fn widths(text: &str) -> Result<(usize, usize), String> {
    let (emsize, nhid) = text.split_once('-').ok_or("write for example 300-1800")?;
    let size =
        |text: &str| numbers::size(text).map_err(|range| format!("{text} is no width: {range}"));
    Ok((size(emsize)?, size(nhid)?))
}

pub fn run(args: Args, json: bool) -> Result<Output> {
    if let Some(device) = args.device.card()? {
        return cuda::run(&args, device, json);
    }
    precision::check(&args.formats, Device::Cpu)?;
    qrnn_ops::libtorch::keep_freed_memory();
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
    write_text(&args.data, folder.path(), args.tokens)?;
    let corpus = Corpus::from_text(folder.path())?;
    let tokens = corpus.tokens(Split::Test);
    let entry = paper::entry();
    let config = LmConfig::paper(entry.emsize, entry.nhid).vocab(corpus.vocab().len());
    let borders = Splits::Auto.borders(config.vocab)?;
    let mut model = QrnnLm::seeded(&config, (Kind::Float, Device::Cpu), 1)?;
    write_inputs(folder.path(), &model, tokens)?;
    let reading = torch_model::Reading {
        folder: folder.path(),
        splits: &borders,
        batch: 1,
        bptt: WINDOW,
        bf16: false,
    };
    let mut opponent = TorchModel::start(&args.peer_flags.python, &reading)?;

    let mut ours: Vec<(Vec<f64>, f64)> = vec![(vec![], f64::NAN); args.formats.len()];
    let mut profiles = vec![profile::Profile::default(); args.formats.len()];
    let (mut theirs, mut their_loss) = (vec![], f64::NAN);
    for turn in 0..args.runs {
        terminal::note(format_args!("turn {} of {} ...", turn + 1, args.runs));
        for (i, format) in args.formats.iter().enumerate() {
            model.set_products(format.products());
            profile::start();
            let reading = Reading::original(Split::Test, WINDOW);
            let evaluation = evaluate_as(&model, &corpus, Split::Test, &reading)?;
            profiles[i] = profile::stop()?;
            ours[i].0.push(evaluation.seconds);
            ours[i].1 = evaluation.loss;
        }
        if let Some(opponent) = &mut opponent {
            let (mut seconds, mut sum) = (0.0, 0.0);
            opponent.tell("restart")?;
            for _ in 0..(tokens.len() - 1).div_ceil(WINDOW) {
                let answer = opponent.run("evaluate")?;
                seconds += answer.seconds;
                sum += answer.loss;
            }
            theirs.push(seconds);
            their_loss = sum / (tokens.len() - 1) as f64;
        }
    }

    let mut text =
        format!("{}, windows of {WINDOW}", shown_text(&model, tokens, &borders, args.runs));
    let mut report = Report::new("evaluate", Device::Cpu, &args.record, json)?;
    let whole = 245_569.0 / tokens.len() as f64;
    let against = (!theirs.is_empty()).then(|| median(theirs));
    for ((format, (seconds, loss)), profile) in args.formats.iter().zip(ours).zip(&profiles) {
        let seconds = median(seconds);
        let alone = products::alone(&profile.products, format.products(), 3)?;
        let _ = write!(
            text,
            "\n{:<6} {seconds:7.2} s ({:.0} s for all 245,569 words)   matrix products alone {:.2} s \
             ({:.0} GFLOP/s), {:.0} %",
            format.name(),
            seconds * whole,
            alone.seconds,
            1e-9 * alone.operations / alone.seconds,
            100.0 * alone.seconds / seconds,
        );
        let mut value = json!({"what": "evaluation of the entry", "format": format.name(),
            "tokens": tokens.len(), "seconds": seconds, "loss": loss, "runs": args.runs,
            "floor": "its matrix products alone", "floor_seconds": alone.seconds,
            "operations": alone.operations, "share_in_products": alone.seconds / seconds});
        if let (Some(theirs), Some(opponent)) = (against, &opponent) {
            let _ = write!(text, "   PyTorch takes {:.2} times as long", theirs / seconds);
            value["against"] = json!(format!("{}, fp32", opponent.version));
            value["against_seconds"] = json!(theirs);
            value["ratio"] = json!(theirs / seconds);
            value["loss_difference"] = json!((loss - their_loss).abs());
        }
        report.note(value)?;
    }
    match (against, &opponent) {
        (Some(theirs), Some(opponent)) => {
            let _ = write!(text, "\n{}, fp32: {theirs:.2} s", opponent.version);
        }
        _ => {
            let _ = write!(
                text,
                "\nno PyTorch to measure against: {} has no torch (--python)",
                args.peer_flags.python
            );
        }
    }
    Ok(report.done(text))
}

/// What is evaluated, for people.
fn shown_text(model: &QrnnLm, tokens: &[u32], borders: &[usize], runs: u32) -> String {
    format!(
        "evaluation of {} parameters (random) on the first {} words of the test text; medians of {runs} runs \
         in turns\nwords by cluster: {}; one column",
        model.parameter_count(),
        tokens.len(),
        random_tokens::shares(tokens, borders),
    )
}

/// Writes a folder whose vocabulary has WikiText-103's size, with the test text's first words.
///
/// The ids of the original come from its training text, which is not needed here: words keep the
/// order of their first appearance in the validation and test texts, stretched evenly in the
/// logarithm from the head's border on, so that every cluster has words. Other ids have a filler.
fn write_text(data: &Path, folder: &Path, tokens: usize) -> Result<()> {
    let read = |name: &str| -> Result<String> {
        let plain = data.join(format!("{name}.txt"));
        let path = if plain.is_file() { plain } else { data.join(format!("wiki.{name}.tokens")) };
        std::fs::read_to_string(&path).map_err(Error::io(&path, "read"))
    };
    let (valid, test) = (read("valid")?, read("test")?);
    let mut ids: HashMap<&str, usize> = HashMap::from([("<eos>", 0)]);
    let mut types = vec!["<eos>"];
    for word in valid.split_whitespace().chain(test.split_whitespace()) {
        ids.entry(word).or_insert_with(|| {
            types.push(word);
            types.len() - 1
        });
    }
    let head = 2800.0;
    let stretch = (WIKITEXT103_VOCAB as f64 / head).ln() / (types.len() as f64 / head).ln();
    let mut vocabulary = vec![None; WIKITEXT103_VOCAB];
    let mut free = 0;
    for (rank, word) in types.iter().enumerate() {
        let rank = rank as f64;
        let id = if rank < head { rank } else { head * (rank / head).powf(stretch) };
        let id = (id as usize).max(free);
        if let Some(place) = vocabulary.get_mut(id) {
            *place = Some(*word);
            free = id + 1;
        }
    }
    let mut train = String::from("\n"); // <eos>
    for (id, word) in vocabulary.iter().enumerate().skip(1) {
        let _ = match word {
            Some(word) => write!(train, "{word} "),
            None => write!(train, "filler{id} "),
        };
    }
    let mut left = tokens;
    let mut short = String::new();
    for line in test.lines() {
        let words = line.split_whitespace().count() + 1;
        if words > left {
            break;
        }
        left -= words;
        short += line;
        short.push('\n');
    }
    for (name, text) in [("train", &train), ("valid", &short), ("test", &short)] {
        let path = folder.join(format!("{name}.txt"));
        std::fs::write(&path, text).map_err(Error::io(&path, "write"))?;
    }
    Ok(())
}
