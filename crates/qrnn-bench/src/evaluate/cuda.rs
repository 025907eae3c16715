//! `reproduce bench evaluate` on a card: the entry on a test text. First ours in every format; then the
//! PyTorch peers and ours in the first precision, in turns.

use std::collections::HashMap;

use qrnn::data::{Corpus, Split};
use qrnn::evaluate::{EvalOptions, evaluate_split};
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::progress::Silent;
use qrnn::terminal;
use qrnn::{Error, Result, paper};
use serde_json::json;
use tch::{Device, Kind};

use super::args::Args;
use super::text::{shown_text, write_text};
use crate::baselines::step::Setting;
use crate::baselines::{Peers, WRITTEN_BY};
use crate::precision::PrecisionChoice;
use crate::report::Report;
use crate::roofline::Ceilings;
use crate::statistics::median;
use crate::torch_model::write_inputs;
use crate::{device as devices, precision, random_tokens};
use qrnn::command_line::Output;

/// Windows of a peer that are not counted: kernels are compiled in them.
const WARM_UP: usize = 16;

/// What one side came to: the seconds of its runs, and the mean loss in nats a word.
#[derive(Default)]
struct Measured {
    seconds: Vec<f64>,
    loss: f64,
}

/// What the peers came to, by name.
type Theirs = HashMap<&'static str, Measured>;

/// One format's outcome, and its place in the report.
struct Ours {
    format: PrecisionChoice,
    measured: Measured,
    at: usize,
}

/// The model and what it reads.
struct Bench<'a> {
    args: &'a Args,
    corpus: Corpus,
    model: QrnnLm,
}

pub fn run(args: &Args, device: Device, json: bool) -> Result<Output> {
    precision::check(&args.formats, device)?;
    qrnn_ops::libtorch::keep_freed_memory();
    let mut report = Report::new("evaluate", device, &args.record, json)?;
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
    let corpus = corpus(args, folder.path())?;
    terminal::note("the device's ceilings ...");
    let ceilings = Ceilings::measure(device, &args.formats)?;
    ceilings.report(&mut report)?;
    devices::peak_bytes(device)?;
    let entry = paper::entry();
    let (emsize, nhid) = args.model.unwrap_or((entry.emsize, entry.nhid));
    let config = LmConfig::paper(emsize, nhid)
        .vocab(corpus.vocab().len())
        .bptt(args.bptt)
        .splits(args.splits.clone().map_or(Splits::Auto, Splits::At));
    let borders = config.splits.borders(config.vocab)?;
    let model = QrnnLm::seeded(&config, (Kind::Float, device), 1)?;
    let tokens = corpus.tokens(Split::Test);
    write_inputs(folder.path(), &model, tokens)?;
    let splits = borders.as_slice();
    let setting =
        Setting { folder: folder.path(), device, splits, batch: 1, dropout: 0.0, clip: 0.0 };
    // Their programs load while ours is measured.
    let mut peers = Peers::spawn(&args.peer_flags, setting.kinds(&args.peers.0))?;
    report.say(format!(
        "{}, windows of {} in PyTorch",
        shown_text(&model, tokens, &borders, args.runs),
        args.bptt,
    ));
    let mut bench = Bench { args, corpus, model };
    let mut ours = vec![];
    for &format in &args.formats {
        terminal::note(format_args!("{} ...", format.name()));
        match bench.alone(format) {
            Ok(measured) => {
                let at = bench.report(format, &measured, &mut report)?;
                ours.push(Ours { format, measured, at });
            }
            Err(error) => {
                let fields = json!({"what": "evaluation of the entry", "format": format.name()});
                report.failed(&format!("the evaluation in {}", format.name()), fields, &error)?;
            }
        }
    }
    if let Some(bytes) = devices::peak_bytes(device)? {
        report.say(format!("peak memory of ours {:.2} GB", bytes / 1e9));
    }
    peers.hello();
    if let (Some(anchor), false) = (ours.first(), peers.live.is_empty()) {
        terminal::note(format_args!("{} and the peers in turns ...", anchor.format.name()));
        match bench.in_turns(anchor.format, &mut peers) {
            Ok((again, theirs)) => bench.against(&ours, again, &peers, theirs, &mut report)?,
            Err(error) => {
                let fields = json!({"what": "interleaved", "of": "evaluation of the entry",
                    "format": anchor.format.name()});
                report.failed("the evaluation beside the peers", fields, &error)?;
            }
        }
    }
    for peer in &peers.left_out {
        report.say(format!("{:<42} left out: {}", peer.words, peer.reason));
        let mut value = peer.value();
        ours.iter().for_each(|ours| report.append(ours.at, "peers", value.clone()));
        value["what"] = json!("peer");
        value["of"] = json!("evaluation of the entry");
        report.note(value)?;
    }
    Ok(report.done(peers.closing()))
}

impl Bench<'_> {
    fn words(&self) -> usize {
        self.corpus.tokens(Split::Test).len()
    }

    fn once(&mut self, format: PrecisionChoice) -> Result<(f64, f64)> {
        self.model.set_precision(format.precision());
        let options = EvalOptions::original(Split::Test, self.args.bptt);
        let (model, corpus) = (&self.model, &self.corpus);
        let evaluation = evaluate_split(model, corpus, Split::Test, &options, &mut Silent)?;
        Ok((evaluation.seconds, evaluation.loss))
    }

    /// The first turn is not counted: kernels are compiled in it.
    fn alone(&mut self, format: PrecisionChoice) -> Result<Measured> {
        let mut measured = Measured::default();
        for turn in 0..=self.args.runs {
            let (seconds, loss) = self.once(format)?;
            measured.note(turn, seconds, loss);
        }
        Ok(measured)
    }

    fn report(
        &self,
        format: PrecisionChoice,
        measured: &Measured,
        report: &mut Report,
    ) -> Result<usize> {
        let (seconds, words) = (median(measured.seconds.clone()), self.words());
        report.say(format!(
            "{:<6} {seconds:7.3} s   {:.0} words/s   loss {:.4}",
            format.name(),
            words as f64 / seconds,
            measured.loss
        ));
        report.note(json!({"what": "evaluation of the entry", "format": format.name(),
            "tokens": words, "seconds": seconds, "loss": measured.loss, "runs": self.args.runs,
            "peers": []}))
    }

    /// Ours in one precision, and what each live peer came to.
    fn in_turns(
        &mut self,
        format: PrecisionChoice,
        peers: &mut Peers,
    ) -> Result<(Measured, Theirs)> {
        let (mut again, mut theirs) = (Measured::default(), Theirs::new());
        let (window, words) = (self.args.bptt, self.words());
        for turn in 0..=self.args.runs {
            terminal::note(format_args!("turn {turn} of {} ...", self.args.runs));
            let (seconds, loss) = self.once(format)?;
            again.note(turn, seconds, loss);
            peers.each(|peer| {
                let some = if turn == 0 { words.min(WARM_UP * window + 1) } else { words };
                let (sum, seconds) = peer.evaluate(window, some)?;
                let loss = sum / (some.max(2) - 1) as f64;
                theirs.entry(peer.name).or_default().note(turn, seconds, loss);
                Ok(())
            });
        }
        Ok((again, theirs))
    }

    fn against(
        &self,
        ours: &[Ours],
        again: Measured,
        peers: &Peers,
        theirs: Theirs,
        report: &mut Report,
    ) -> Result<()> {
        let Some(anchor) = ours.first() else { return Ok(()) };
        let interleaved = median(again.seconds);
        let first_pass = median(anchor.measured.seconds.clone());
        report.say(format!(
            "{} in turns with the peers: {interleaved:.3} s, {first_pass:.3} by itself before",
            anchor.format.name(),
        ));
        report.note(json!({"what": "interleaved", "of": "evaluation of the entry", "format":
            anchor.format.name(), "seconds": interleaved, "first_pass_seconds": first_pass,
            "times_the_first_pass": interleaved / first_pass, "runs": self.args.runs}))?;
        report.amend(anchor.at, "interleaved_seconds", json!(interleaved));
        for peer in &peers.live {
            let Some(measured) = theirs.get(peer.name) else { continue };
            let their_seconds = median(measured.seconds.clone());
            let of = |ours: &Ours| match ours.format == anchor.format {
                true => interleaved,
                false => median(ours.measured.seconds.clone()),
            };
            let mut said = format!("{:<42} {their_seconds:7.3} s", peer.words);
            let mut value = json!({"peer": peer.name, "against": peer.words, "by": peer.version,
                "written_by": WRITTEN_BY, "seconds": their_seconds, "loss": measured.loss});
            let (mut ratios, mut differences) = (json!({}), json!({}));
            for ours in ours {
                let ratio = their_seconds / of(ours);
                let difference = (measured.loss - ours.measured.loss).abs();
                let name = ours.format.name();
                said += &format!("   {ratio:.2} times {name}, losses {difference:.1e} apart");
                (ratios[name], differences[name]) = (json!(ratio), json!(difference));
                let mut value = value.clone();
                (value["ratio"], value["loss_difference"]) = (json!(ratio), json!(difference));
                report.append(ours.at, "peers", value);
            }
            report.say(said);
            value["what"] = json!("peer");
            value["of"] = json!("evaluation of the entry");
            value["runs"] = json!(self.args.runs);
            (value["ratios"], value["loss_differences"]) = (ratios, differences);
            report.note(value)?;
        }
        Ok(())
    }
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
    random_tokens::corpus(args.types.unwrap_or(qrnn::model::WIKITEXT103_VOCAB), 20, args.tokens)
}
