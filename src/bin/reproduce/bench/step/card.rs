//! `reproduce bench step` on a card: each format against the card's ceilings and the counted floor, and
//! against the PyTorch peers, in turns.

use std::collections::HashSet;
use std::path::Path;

use qrnn::corpus::{Corpus, Split};
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::profile::Profile;
use qrnn::train::Recipe;
use qrnn::{Error, Result};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::super::ceilings::Ceilings;
use super::super::format::{self, Format};
use super::super::peers::{self, Mode, Peer, Setting};
use super::super::torch_model::write_inputs;
use super::super::{device as devices, ids, median, middle_half};
use super::floor::{self, Piece};
use super::turns::{Blocks, Taken, take};
use super::{Args, Shape};
use crate::data;
use crate::output::Output;

/// Steps of a block: as many as the trainer gives to a card before it reads their losses.
const BLOCK: usize = 16;

/// The entry's locked dropouts.
const DROPOUT: f64 = 0.1;

/// Steps without dropout whose losses are held against the published step's.
const COMPARED: usize = 4;

/// Words of the training text of WikiText-103: an epoch.
const EPOCH: f64 = 103_227_021.0;

/// Epochs of the entry.
const EPOCHS: f64 = 20.0;

pub fn run(args: &Args, device: Device) -> Result<Output> {
    format::check(&args.formats, device)?;
    qrnn::libtorch::keep_freed_memory();
    eprintln!("the device's ceilings ...");
    let ceilings = Ceilings::measure(device, &args.formats)?;
    let mut text = ceilings.text()?;
    let mut measurements = ceilings.measurements();
    for &shape in &args.models {
        let bench = Bench::new(args, shape, device)?;
        text += &bench.head();
        let (said, values) = bench.run(&ceilings)?;
        text += &said;
        measurements.extend(values);
    }
    Ok(Output::done(text, json!({"bench": "step", "measurements": measurements})))
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

/// One format's outcome.
struct Measured {
    format: Format,
    ours: Taken,
    theirs: Vec<Taken>,
    profile: Profile,
    peak_bytes: Option<f64>,
    /// Largest difference of a loss from the published step's, nothing dropped.
    difference: Option<f64>,
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
            "\n\n{}: training steps of {:.0} words ({} columns of {}), dropout {DROPOUT}, on {} of {} \
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

    fn run(&self, ceilings: &Ceilings) -> Result<(String, Vec<Value>)> {
        let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
        let model = self.model(Format::Fp32, 0.0)?;
        write_inputs(folder.path(), &model, self.corpus.tokens(Split::Train))?;
        drop(model);
        let reference = self.reference(folder.path())?;
        let mut peers = vec![];
        for mode in Mode::ALL {
            peers.extend(self.peer(mode, folder.path(), DROPOUT)?);
        }
        let (mut text, mut values) = (String::new(), vec![]);
        for &format in &self.args.formats {
            eprintln!("{} {} ...", self.shape, format.name());
            let difference = self.difference(format, reference.as_deref())?;
            devices::peak_bytes(self.device)?;
            let mut model = self.model(format, DROPOUT)?;
            let mut take = |peers: &mut Vec<Peer>, blocks, watched| {
                take(&mut model, &self.corpus, self.recipe(), blocks, peers, watched)
            };
            let (ours, theirs) = take(&mut peers, self.blocks, false)?;
            let peak_bytes = devices::peak_bytes(self.device)?;
            let watched = Blocks { steps: BLOCK, warm_up: 1, counted: 1 };
            take(&mut vec![], watched, true)?;
            let profile = qrnn::profile::stop()?;
            let measured = Measured { format, ours, theirs, profile, peak_bytes, difference };
            let (said, value) = self.report(&measured, &peers, ceilings);
            text += &said;
            values.push(value);
        }
        text += &match peers.first() {
            Some(peer) => format!("\nthe peers are {}; {}", peers::WRITTEN_BY, peer.version),
            None => {
                format!(
                    "\nno PyTorch to measure against: {} has no torch (--python)",
                    self.args.python
                )
            }
        };
        Ok((text, values))
    }

    fn peer(&self, mode: Mode, folder: &Path, dropout: f64) -> Result<Option<Peer>> {
        let setting = Setting {
            folder,
            device: self.device,
            splits: &self.borders,
            batch: self.args.batch_size,
            dropout,
            clip: self.recipe().clip,
        };
        Peer::start(&self.args.python, mode, &setting)
    }

    /// The losses of the published step, nothing dropped.
    fn reference(&self, folder: &Path) -> Result<Option<Vec<f64>>> {
        let Some(mut peer) = self.peer(Mode::Published, folder, 0.0)? else { return Ok(None) };
        let rates = [self.recipe().lr; COMPARED];
        Ok(Some(peer.steps(&[self.args.bptt; COMPARED], &rates)?.losses))
    }

    /// How far the losses of a format are from the published step's.
    ///
    /// # Errors
    /// [`Error::Cuda`] where that is further than its rounding explains.
    fn difference(&self, format: Format, reference: Option<&[f64]>) -> Result<Option<f64>> {
        let Some(reference) = reference else { return Ok(None) };
        let mut model = self.model(format, 0.0)?;
        let blocks = Blocks { steps: COMPARED, warm_up: 0, counted: 1 };
        let (ours, _) = take(&mut model, &self.corpus, self.recipe(), blocks, &mut vec![], false)?;
        let differences = ours.losses.iter().zip(reference).map(|(a, b)| (a - b).abs());
        let furthest = differences.fold(0.0, f64::max);
        let bound = if matches!(format, Format::Fp32 | Format::Torch) { 1e-3 } else { 5e-2 };
        // A NaN of either side passes through `max`.
        let finite = ours.losses.iter().chain(reference).all(|loss| loss.is_finite());
        if finite && furthest <= bound {
            return Ok(Some(furthest));
        }
        Err(Error::Cuda {
            what: format!("the training step in {}", format.name()),
            problem: format!(
                "its losses are {:?}, those of the published step {reference:?}: further apart than \
                 {bound:e}",
                ours.losses
            ),
            remedy: "report this with the device's name".into(),
        })
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

    fn report(&self, measured: &Measured, peers: &[Peer], ceilings: &Ceilings) -> (String, Value) {
        let format = measured.format;
        let (seconds, wall) =
            (median(measured.ours.each.clone()), median(measured.ours.wall.clone()));
        let speed = self.words() / wall;
        let epoch = EPOCH / speed;
        let floor = floor::seconds(&self.pieces(format), ceilings.rate(format), ceilings.bandwidth);
        let mut text = format!(
            "\n\n{}: {:.2} ms a step (the middle half {}; {:.2} by the wall clock), {speed:.0} words/s: \
             {epoch:.1} s an epoch of WikiText-103, {:.1} minutes for {EPOCHS:.0}\ncounted floor {:.2} ms: \
             {:.2} times as long",
            format.name(),
            1e3 * seconds,
            shown_half(&measured.ours.each),
            1e3 * wall,
            epoch * EPOCHS / 60.0,
            1e3 * floor,
            seconds / floor,
        );
        let mut value = json!({"what": "training step", "model": self.shape.to_string(),
            "format": format.name(), "splits": self.borders, "seconds": seconds,
            "middle_half": middle_half(measured.ours.each.clone()),
            "wall_seconds": wall, "words": self.words(), "words_per_second": speed,
            "epoch_seconds": epoch, "minutes_for_20_epochs": epoch * EPOCHS / 60.0,
            "floor": "each product and each byte once, at the measured ceilings",
            "floor_seconds": floor, "times_the_floor": seconds / floor,
            "runs": measured.ours.each.len()});
        if let Some(bytes) = measured.peak_bytes {
            text += &format!("; peak memory {:.2} GB", bytes / 1e9);
            value["peak_bytes"] = json!(bytes);
        }
        let (said, stages) = stages(&measured.profile, seconds, format, ceilings);
        text += &said;
        value["stages"] = json!(stages);
        let counted = self.pieces(format).into_iter().map(|piece| {
            json!({"kernel": piece.name, "operations": piece.operations, "bytes": piece.bytes})
        });
        value["counted"] = counted.collect();
        if let Some(difference) = measured.difference {
            text += &format!(
                "\nlosses of {COMPARED} steps without dropout differ from the published step's by at \
                 most {difference:.1e}"
            );
            value["largest_loss_difference"] = json!(difference);
        }
        let mut against = vec![];
        for (peer, theirs) in peers.iter().zip(&measured.theirs) {
            let their_seconds = median(theirs.each.clone());
            let ratio = their_seconds / seconds;
            text += &format!(
                "\n{:<42} {:8.2} ms ({})   {ratio:.2} times as long",
                peer.mode.words(),
                1e3 * their_seconds,
                shown_half(&theirs.each),
            );
            if let Some(bytes) = theirs.peak_bytes {
                text += &format!("   peak memory {:.2} GB", bytes / 1e9);
            }
            against.push(json!({"against": peer.mode.words(), "by": peer.version, "written_by":
                peers::WRITTEN_BY, "seconds": their_seconds, "middle_half":
                middle_half(theirs.each.clone()), "wall_seconds":
                median(theirs.wall.clone()), "ratio": ratio, "peak_bytes": theirs.peak_bytes}));
        }
        value["peers"] = json!(against);
        (text, value)
    }
}

/// Between which times the middle half of the steps lies, for people.
fn shown_half(seconds: &[f64]) -> String {
    let [low, high] = middle_half(seconds.to_vec());
    format!("{:.2} to {:.2}", 1e3 * low, 1e3 * high)
}

/// Each stage's time in a step that was watched, what it did, and how near that is to the ceiling.
fn stages(
    profile: &Profile,
    seconds: f64,
    format: Format,
    ceilings: &Ceilings,
) -> (String, Vec<Value>) {
    let steps = BLOCK as f64;
    let mut all: Vec<_> = profile.stages.iter().collect();
    all.sort_by(|a, b| b.1.cmp(a.1));
    let mut text = String::from("\nstages of a step that was watched:");
    let (mut values, mut known) = (vec![], 0.0);
    for (&name, time) in all {
        let time = time.as_secs_f64() / steps;
        known += time;
        text += &format!("\n  {name:<18} {:8.3} ms", 1e3 * time);
        let mut value = json!({"stage": name, "seconds": time});
        if name == "matrix products" {
            let operations = profile.products.iter().map(|product| product.operations());
            let operations = operations.sum::<f64>() / steps;
            let share = operations / time / ceilings.rate(format);
            text +=
                &format!("   {:8.1} GFLOP   {:3.0} % of the rate", 1e-9 * operations, 1e2 * share);
            (value["operations"], value["share_of_rate"]) = (json!(operations), json!(share));
        } else if let Some(bytes) = profile.bytes.get(name) {
            let bytes = bytes / steps;
            let share = bytes / time / ceilings.bandwidth;
            text += &format!("   {:8.1} MB      {:3.0} % of the copy", 1e-6 * bytes, 1e2 * share);
            (value["bytes"], value["share_of_bandwidth"]) = (json!(bytes), json!(share));
        }
        values.push(value);
    }
    let rest = (seconds - known).max(0.0);
    text += &format!("\n  {:<18} {:8.3} ms", "all else", 1e3 * rest);
    values.push(json!({"stage": "all else", "seconds": rest}));
    (text, values)
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
