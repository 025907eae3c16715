//! `reproduce bench evaluate` on a card: the entry on a test text, against the PyTorch peers.

use qrnn::corpus::{Corpus, Split};
use qrnn::evaluate::{Reading, evaluate_as};
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::{Error, Result, paper};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::super::ceilings::Ceilings;
use super::super::peers::{self, Mode, Peer, Setting};
use super::super::torch_model::write_inputs;
use super::super::{device as devices, format, ids, median};
use super::{Args, shown_text, write_text};
use crate::output::Output;

/// What one side came to: the seconds of its runs, and the mean loss in nats a word.
#[derive(Default)]
struct Measured {
    seconds: Vec<f64>,
    loss: f64,
}

pub fn run(args: &Args, device: Device) -> Result<Output> {
    format::check(&args.formats, device)?;
    qrnn::libtorch::keep_freed_memory();
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
    let corpus = corpus(args, folder.path())?;
    let tokens = corpus.tokens(Split::Test);
    eprintln!("the device's ceilings ...");
    let ceilings = Ceilings::measure(device, &args.formats)?;
    devices::peak_bytes(device)?;
    let entry = paper::entry();
    let (emsize, nhid) = args.model.unwrap_or((entry.emsize, entry.nhid));
    let config = LmConfig::paper(emsize, nhid)
        .vocab(corpus.vocab().len())
        .bptt(args.bptt)
        .splits(args.splits.clone().map_or(Splits::Auto, Splits::At));
    let borders = config.splits.borders(config.vocab)?;
    let mut model = QrnnLm::seeded(&config, (Kind::Float, device), 1)?;
    write_inputs(folder.path(), &model, tokens)?;
    let splits = borders.as_slice();
    let setting =
        Setting { folder: folder.path(), device, splits, batch: 1, dropout: 0.0, clip: 0.0 };
    let mut peers = vec![];
    for mode in Mode::ALL {
        peers.extend(Peer::start(&args.python, mode, &setting)?);
    }
    let mut ours: Vec<_> = args.formats.iter().map(|_| Measured::default()).collect();
    let mut theirs: Vec<_> = peers.iter().map(|_| Measured::default()).collect();
    // The first turn is not counted: kernels are compiled in it.
    for turn in 0..=args.runs {
        eprintln!("turn {turn} of {} ...", args.runs);
        for (format, measured) in args.formats.iter().zip(&mut ours) {
            model.set_products(format.products());
            let reading = Reading::original(Split::Test, args.bptt);
            let evaluation = evaluate_as(&model, &corpus, Split::Test, &reading)?;
            measured.note(turn, evaluation.seconds, evaluation.loss);
        }
        for (peer, measured) in peers.iter_mut().zip(&mut theirs) {
            let (sum, seconds) = peer.evaluate(args.bptt)?;
            measured.note(turn, seconds, sum / (tokens.len() - 1) as f64);
        }
    }

    let mut text = format!(
        "{}\n{}, windows of {} in PyTorch",
        ceilings.text()?,
        shown_text(&model, tokens, &borders, args.runs),
        args.bptt,
    );
    let mut measurements = ceilings.measurements();
    for (format, measured) in args.formats.iter().zip(&ours) {
        let seconds = median(measured.seconds.clone());
        text += &format!(
            "\n{:<6} {seconds:7.3} s   {:.0} words/s   loss {:.4}",
            format.name(),
            tokens.len() as f64 / seconds,
            measured.loss
        );
        let against: Vec<Value> = peers
            .iter()
            .zip(&theirs)
            .map(|(peer, theirs)| {
                let their_seconds = median(theirs.seconds.clone());
                let difference = (theirs.loss - measured.loss).abs();
                text += &format!(
                    "\n    {:<40} {:.2} times as long; losses differ by {difference:.1e}",
                    peer.mode.words(),
                    their_seconds / seconds,
                );
                json!({"against": peer.mode.words(), "by": peer.version, "written_by":
                    peers::WRITTEN_BY, "seconds": their_seconds, "ratio": their_seconds / seconds,
                    "loss_difference": difference})
            })
            .collect();
        measurements.push(json!({"what": "evaluation of the entry", "format": format.name(),
            "tokens": tokens.len(), "seconds": seconds, "loss": measured.loss, "runs": args.runs,
            "peers": against}));
    }
    if let Some(bytes) = devices::peak_bytes(device)? {
        text += &format!("\npeak memory of ours {:.2} GB", bytes / 1e9);
    }
    text += &match peers.first() {
        Some(peer) => format!("\nthe peers are {}; {}", peers::WRITTEN_BY, peer.version),
        None => format!("\nno PyTorch to measure against: {} has no torch (--python)", args.python),
    };
    Ok(Output::done(text, json!({"bench": "evaluate", "measurements": measurements})))
}

impl Measured {
    fn note(&mut self, turn: u32, seconds: f64, loss: f64) {
        self.loss = loss;
        if turn > 0 {
            self.seconds.push(seconds);
        }
    }
}

/// The test text of the data folder, where it is there, else ids made after its law.
fn corpus(args: &Args, folder: &std::path::Path) -> Result<Corpus> {
    if args.types.is_none() && args.data.is_dir() {
        write_text(&args.data, folder, args.tokens)?;
        return Corpus::from_text(folder);
    }
    ids::corpus(args.types.unwrap_or(qrnn::model::WIKITEXT103_VOCAB), 20, args.tokens)
}
