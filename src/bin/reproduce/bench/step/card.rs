//! `reproduce bench step` on a card. First ours, each format against the card's ceilings and the counted
//! floor; then the PyTorch peers and ours in the first format, in turns.

use std::collections::HashSet;

use qrnn::corpus::{Corpus, Split};
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::train::Recipe;
use qrnn::{Error, Result};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::super::ceilings::Ceilings;
use super::super::format::{self, Format};
use super::super::peers::Peers;
use super::super::peers::step::{Mode, Setting};
use super::super::report::Report;
use super::super::torch_model::write_inputs;
use super::super::{device as devices, ids, median};
use super::floor::{self, Piece};
use super::shown::{self, Measured};
use super::turns::{BLOCK, Blocks, Taken, Theirs, take};
use super::{Args, Shape};
use crate::data;
use crate::output::Output;

/// The entry's locked dropouts.
const DROPOUT: f64 = 0.1;

/// Steps without dropout whose losses are held against the published step's.
const COMPARED: usize = 4;

pub fn run(args: &Args, device: Device, json: bool) -> Result<Output> {
    format::check(&args.formats, device)?;
    qrnn::libtorch::keep_freed_memory();
    let mut report = Report::new("step", device, &args.record, json)?;
    eprintln!("the device's ceilings ...");
    let ceilings = Ceilings::measure(device, &args.formats)?;
    ceilings.report(&mut report)?;
    let mut closing = String::new();
    for &shape in &args.models {
        let bench = Bench::new(args, shape, device)?;
        report.say(bench.head());
        closing = bench.run(&ceilings, &mut report)?;
    }
    Ok(report.done(closing))
}

/// One model.
struct Bench<'a> {
    args: &'a Args,
    shape: Shape,
    device: Device,
    corpus: Corpus,
    /// The tails' first words.
    borders: Vec<usize>,
    blocks: Blocks,
}

impl<'a> Bench<'a> {
    fn new(args: &'a Args, shape: Shape, device: Device) -> Result<Self> {
        let warm_up = if device.is_cuda() { 4 } else { 1 };
        let counted = (args.steps as usize).div_ceil(BLOCK);
        let blocks = Blocks { steps: BLOCK, warm_up, counted };
        let corpus = match &args.data {
            Some(_) => data::load(args.data.clone())?,
            None => {
                let words = args.batch_size * (args.bptt * blocks.steps() + args.bptt);
                ids::corpus(args.types, words, 20)?
            }
        };
        let vocab = corpus.vocab().len();
        let borders = args.splits.iter().copied().filter(|&at| shape.split && at < vocab).collect();
        Ok(Self { args, shape, device, corpus, borders, blocks })
    }

    fn config(&self, dropout: f64) -> LmConfig {
        let splits = match self.borders.is_empty() {
            true => Splits::None,
            false => Splits::At(self.borders.clone()),
        };
        LmConfig::paper(self.shape.emsize, self.shape.nhid)
            .vocab(self.corpus.vocab().len())
            .locked_dropouts(dropout, dropout, dropout)
            .splits(splits)
    }

    fn model(&self, format: Format, dropout: f64) -> Result<QrnnLm> {
        let mut model = QrnnLm::seeded(&self.config(dropout), (Kind::Float, self.device), 1)?;
        model.set_products(format.products());
        Ok(model)
    }

    fn recipe(&self) -> Recipe {
        let recipe = Recipe::paper().bptt(self.args.bptt).batch(self.args.batch_size);
        Recipe { fixed_bptt: true, ..recipe }
    }

    fn words(&self) -> f64 {
        (self.args.batch_size * self.args.bptt) as f64
    }

    fn head(&self) -> String {
        format!(
            "\n{}: training steps of {:.0} words ({} columns of {}), dropout {DROPOUT}, on {} of {} \
             types\nwords by cluster: {}; {:.0} different words a step; medians of {} steps in blocks of \
             {BLOCK} in turns, after {}",
            self.shape,
            self.words(),
            self.args.batch_size,
            self.args.bptt,
            self.corpus.name(),
            self.corpus.vocab().len(),
            ids::shares(self.corpus.tokens(Split::Train), &self.borders),
            self.distinct(),
            self.blocks.counted * BLOCK,
            self.blocks.warm_up * BLOCK,
        )
    }

    /// Different words of the first step.
    fn distinct(&self) -> f64 {
        let tokens = self.corpus.tokens(Split::Train);
        let column = tokens.len() / self.args.batch_size;
        let words = (0..self.args.batch_size)
            .flat_map(|b| tokens[b * column..].iter().take(self.args.bptt.min(column)));
        words.collect::<HashSet<_>>().len() as f64
    }

    /// Ours, then the peers; what is to be said last.
    fn run(&self, ceilings: &Ceilings, report: &mut Report) -> Result<String> {
        let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
        let model = self.model(Format::Fp32, 0.0)?;
        write_inputs(folder.path(), &model, self.corpus.tokens(Split::Train))?;
        drop(model);
        let setting = Setting {
            folder: folder.path(),
            device: self.device,
            splits: &self.borders,
            batch: self.args.batch_size,
            dropout: DROPOUT,
            clip: self.recipe().clip,
        };
        // Their programs load while ours is measured.
        let mut peers = Peers::spawn(&self.args.peer_flags, setting.kinds(&self.args.peers.0))?;
        let mut ours = vec![];
        for &format in &self.args.formats {
            eprintln!("{} {} ...", self.shape, format.name());
            match self.ours(format) {
                Ok(measured) => {
                    let (said, value) = self.shown(&measured, ceilings);
                    report.say(said);
                    let at = report.note(value)?;
                    ours.push((measured, at));
                }
                Err(error) => {
                    let fields = json!({"what": "training step", "model": self.shape.to_string(),
                        "format": format.name()});
                    report.failed(
                        &format!("the training step in {}", format.name()),
                        fields,
                        &error,
                    )?;
                }
            }
        }
        peers.hello();
        self.compare(&ours, &mut peers, report)?;
        if let (Some((anchor, _)), false) = (ours.first(), peers.live.is_empty()) {
            eprintln!("{} {} and the peers in turns ...", self.shape, anchor.format.name());
            match self.in_turns(anchor.format, &mut peers) {
                Ok((again, theirs)) => self.against(&ours, &again, &peers, &theirs, report)?,
                Err(error) => {
                    let fields = json!({"what": "interleaved", "of": "training step",
                        "model": self.shape.to_string(), "format": anchor.format.name()});
                    report.failed("the training step beside the peers", fields, &error)?;
                }
            }
        }
        self.left_out(&ours, &peers, report)?;
        Ok(format!("\n{}", peers.closing()))
    }

    /// One format by itself.
    fn ours(&self, format: Format) -> Result<Measured> {
        let mut alone = Peers::default();
        let undropped = match self.args.peers.0.contains(&Mode::Published) {
            true => {
                let mut model = self.model(format, 0.0)?;
                let blocks = Blocks { steps: COMPARED, warm_up: 0, counted: 1 };
                take(&mut model, &self.corpus, self.recipe(), blocks, &mut alone, false)?.0.losses
            }
            false => vec![],
        };
        devices::peak_bytes(self.device)?;
        let mut model = self.model(format, DROPOUT)?;
        let mut take = |blocks, watched| {
            take(&mut model, &self.corpus, self.recipe(), blocks, &mut alone, watched)
        };
        let (ours, _) = take(self.blocks, false)?;
        let peak_bytes = devices::peak_bytes(self.device)?;
        let watched = Blocks { steps: BLOCK, warm_up: 1, counted: 1 };
        take(watched, true)?;
        let profile = qrnn::profile::stop()?;
        Ok(Measured { format, ours, profile, peak_bytes, undropped })
    }

    /// Ours in one format and the peers, a block each after the other.
    fn in_turns(&self, format: Format, peers: &mut Peers) -> Result<(Taken, Theirs)> {
        let mut model = self.model(format, DROPOUT)?;
        take(&mut model, &self.corpus, self.recipe(), self.blocks, peers, false)
    }

    /// Holds the losses of every format, nothing dropped, against the published step's.
    fn compare(
        &self,
        ours: &[(Measured, usize)],
        peers: &mut Peers,
        report: &mut Report,
    ) -> Result<()> {
        let mut reference = None;
        peers.each(|peer| {
            if peer.name == Mode::Published.name() {
                peer.reset(0.0)?;
                let rates = [self.recipe().lr; COMPARED];
                reference = Some(peer.steps(&[self.args.bptt; COMPARED], &rates)?.losses);
                peer.reset(DROPOUT)?;
            }
            Ok(())
        });
        let Some(reference) = reference else { return Ok(()) };
        for (measured, at) in ours {
            let (format, losses) = (measured.format, &measured.undropped);
            let differences = losses.iter().zip(&reference).map(|(a, b)| (a - b).abs());
            let furthest = differences.fold(0.0, f64::max);
            let bound = if matches!(format, Format::Fp32 | Format::Torch) { 1e-3 } else { 5e-2 };
            // A NaN passes through `max`.
            let finite = losses.iter().all(|loss| loss.is_finite());
            let far = !finite || furthest > bound;
            let furthest = if finite { json!(furthest) } else { Value::Null };
            let shown = furthest.as_f64().map_or("no number".into(), |far| format!("{far:.1e}"));
            report.say(format!(
                "{}: losses of {COMPARED} steps without dropout differ from the published step's by at \
                 most {shown}{}",
                format.name(),
                if far { format!(", further than {bound:e}") } else { String::new() },
            ));
            let fields = [
                ("largest_loss_difference", furthest),
                ("loss_bound", json!(bound)),
                ("far", json!(far)),
            ];
            let mut value = json!({"what": "losses without dropout", "model":
                self.shape.to_string(), "format": format.name(), "steps": COMPARED, "losses":
                losses, "losses_of_the_published_step": reference});
            for (name, field) in fields {
                value[name] = field.clone();
                report.amend(*at, name, field);
            }
            report.note(value)?;
            if far {
                report.wrong(format!(
                    "the training step in {}: its losses are {losses:?}, those of the published step \
                     {reference:?}: further apart than {bound:e}",
                    format.name()
                ));
            }
        }
        Ok(())
    }

    /// What a step must do at least.
    fn pieces(&self, format: Format) -> Vec<Piece> {
        let tokens = self.corpus.tokens(Split::Train);
        let counts = ids::by_cluster(tokens, &self.borders);
        let share = |count: &usize| self.words() * *count as f64 / tokens.len() as f64;
        let reading = floor::Reading {
            words: self.words(),
            distinct: self.distinct(),
            in_tails: counts[1..].iter().map(share).collect(),
            format,
        };
        floor::pieces(&self.config(DROPOUT), &self.borders, &reading)
    }

    fn shown(&self, measured: &Measured, ceilings: &Ceilings) -> (String, Value) {
        let (format, rate) = (measured.format, ceilings.rate(measured.format));
        let pieces = self.pieces(format);
        // `max` would take the bytes alone for the floor.
        let floor = match rate.is_nan() {
            true => f64::NAN,
            false => floor::seconds(&pieces, rate, ceilings.bandwidth),
        };
        let (text, mut value) = shown::step(measured, self.words(), floor, ceilings);
        value["model"] = json!(self.shape.to_string());
        value["splits"] = json!(self.borders);
        let counted = pieces.into_iter().map(|piece| {
            json!({"kernel": piece.name, "operations": piece.operations, "bytes": piece.bytes})
        });
        value["counted"] = counted.collect();
        (text, value)
    }

    /// The peers' times against ours. Ours in the anchor's format are those of the same turns.
    fn against(
        &self,
        ours: &[(Measured, usize)],
        again: &Taken,
        peers: &Peers,
        theirs: &Theirs,
        report: &mut Report,
    ) -> Result<()> {
        let Some((anchor, anchor_at)) = ours.first() else { return Ok(()) };
        if again.each.is_empty() {
            return Ok(()); // every peer failed while it warmed up
        }
        let interleaved = median(again.each.clone());
        let first_pass = median(anchor.ours.each.clone());
        let model = self.shape.to_string();
        report.say(shown::interleaved(anchor.format, interleaved, first_pass));
        report.note(json!({"what": "interleaved", "of": "training step", "model": model,
            "format": anchor.format.name(), "seconds": interleaved, "first_pass_seconds":
            first_pass, "times_the_first_pass": interleaved / first_pass,
            "runs": again.each.len()}))?;
        report.amend(*anchor_at, "interleaved_seconds", json!(interleaved));
        let of = |measured: &Measured| match measured.format == anchor.format {
            true => interleaved,
            false => median(measured.ours.each.clone()),
        };
        let mut against: Vec<Vec<Value>> = ours.iter().map(|_| vec![]).collect();
        for peer in &peers.live {
            let Some(theirs) = theirs.get(peer.name) else { continue };
            let seconds = median(theirs.each.clone());
            let ratios: Vec<_> =
                ours.iter().map(|(one, _)| (one.format, seconds / of(one))).collect();
            let (said, value) = shown::peer(peer, theirs, &ratios);
            report.say(said);
            let mut line = value.clone();
            line["what"] = json!("peer");
            line["of"] = json!("training step");
            line["model"] = json!(model);
            line["runs"] = json!(theirs.each.len());
            line["ratios"] = ratios.iter().map(|(f, ratio)| (f.name(), json!(ratio))).collect();
            report.note(line)?;
            for (list, (_, ratio)) in against.iter_mut().zip(ratios) {
                let mut value = value.clone();
                value["ratio"] = json!(ratio);
                list.push(value);
            }
        }
        for ((_, at), list) in ours.iter().zip(against) {
            report.amend(*at, "peers", json!(list));
        }
        Ok(())
    }

    /// Peers that failed, with their reasons.
    fn left_out(
        &self,
        ours: &[(Measured, usize)],
        peers: &Peers,
        report: &mut Report,
    ) -> Result<()> {
        for peer in &peers.left_out {
            report.say(format!("{:<42} left out: {}", peer.words, peer.reason));
            let mut value = peer.value();
            for (_, at) in ours {
                report.append(*at, "peers", value.clone());
            }
            value["what"] = json!("peer");
            value["of"] = json!("training step");
            value["model"] = json!(self.shape.to_string());
            report.note(value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::parsed;

    #[test]
    fn what_is_left_out_is_the_entrys_on_a_card_and_small_on_the_cpu() {
        let sizes = |words: &[&str]| {
            let args: Args = parsed(words);
            let models: Vec<_> = args.models.iter().map(Shape::to_string).collect();
            (models.join(" "), args.batch_size, args.bptt, args.steps, args.splits, args.formats)
        };
        let on_card = (
            "300-1800-split".to_owned(),
            40,
            300,
            208,
            vec![2800, 20_000, 76_000],
            vec![Format::Bf16, Format::Tf32, Format::Fp32],
        );
        assert_eq!(sizes(&["--device", "cuda"]), on_card);
        let asked = sizes(&["--device", "cuda", "--bptt", "7", "--formats", "bf16"]);
        assert_eq!((asked.1, asked.2, asked.5), (40, 7, vec![Format::Bf16]));
        let on_cpu = sizes(&[]);
        assert_eq!((on_cpu.1, on_cpu.2, on_cpu.3), (20, 70, 7));
    }
}
