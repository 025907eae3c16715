//! `reproduce bench step` on a GPU. First ours, each format against the GPU's ceilings and the counted
//! floor; then the PyTorch peers and ours in the first format, in turns.

use std::collections::HashSet;

use qrnn::data::{Corpus, Split};
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::terminal;
use qrnn::train::Recipe;
use qrnn::{Error, Result};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::args::Args;
use super::interleaved::{BLOCK, Blocks, StepTimes, Theirs, take};
use super::lower_bound::{self, KernelCost};
use super::shown::{self, Measured};
use crate::baselines::Baselines;
use crate::baselines::step::{Mode, Setting};
use crate::precision::{self, PrecisionChoice};
use crate::report::Report;
use crate::roofline::Roofline;
use crate::shape::Shape;
use crate::torch_model::write_inputs;
use crate::{device as devices, random_tokens};
use qrnn::command_line::{Output, load_corpus};

/// The entry's locked dropouts.
pub const DROPOUT: f64 = 0.1;

/// Steps without dropout whose losses are held against the published step's.
pub const COMPARED: usize = 4;

pub fn run(args: &Args, device: Device, json: bool) -> Result<Output> {
    precision::check(&args.formats, device)?;
    qrnn_ops::libtorch::keep_freed_memory();
    let mut report = Report::new("step", device, &args.record, json)?;
    terminal::note("the device's ceilings ...");
    let roofline = Roofline::measure(device, &args.formats)?;
    roofline.report(&mut report)?;
    let mut closing = String::new();
    for &shape in &args.models {
        let bench = Bench::new(args, shape, device)?;
        report.print(bench.head());
        closing = bench.run(&roofline, &mut report)?;
    }
    Ok(report.finish(closing))
}

/// One model.
pub struct Bench<'a> {
    pub args: &'a Args,
    pub shape: Shape,
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
            Some(_) => load_corpus(args.data.clone())?,
            None => {
                let words = args.batch_size * (args.bptt * blocks.steps() + args.bptt);
                random_tokens::corpus(args.types, words, 20)?
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

    fn model(&self, format: PrecisionChoice, dropout: f64) -> Result<QrnnLm> {
        let mut model = QrnnLm::seeded(&self.config(dropout), (Kind::Float, self.device), 1)?;
        model.set_precision(format.precision());
        Ok(model)
    }

    pub fn recipe(&self) -> Recipe {
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
            random_tokens::shares(self.corpus.tokens(Split::Train), &self.borders),
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
    fn run(&self, roofline: &Roofline, report: &mut Report) -> Result<String> {
        let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
        let model = self.model(PrecisionChoice::Fp32, 0.0)?;
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
        let mut baselines =
            Baselines::spawn(&self.args.baseline_flags, setting.specs(&self.args.baselines.0))?;
        let mut ours = vec![];
        for &format in &self.args.formats {
            terminal::note(format_args!("{} {} ...", self.shape, format.name()));
            match self.ours(format) {
                Ok(measured) => {
                    let (said, value) = self.shown(&measured, roofline);
                    report.print(said);
                    let at = report.add(value)?;
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
        baselines.hello();
        self.compare(&ours, &mut baselines, report)?;
        if let (Some((anchor, _)), false) = (ours.first(), baselines.live.is_empty()) {
            terminal::note(format_args!(
                "{} {} and the peers in turns ...",
                self.shape,
                anchor.format.name()
            ));
            match self.in_turns(anchor.format, &mut baselines) {
                Ok((again, theirs)) => self.against(&ours, &again, &baselines, &theirs, report)?,
                Err(error) => {
                    let fields = json!({"what": "interleaved", "of": "training step",
                        "model": self.shape.to_string(), "format": anchor.format.name()});
                    report.failed("the training step beside the peers", fields, &error)?;
                }
            }
        }
        self.left_out(&ours, &baselines, report)?;
        Ok(format!("\n{}", baselines.closing()))
    }

    /// One format by itself.
    fn ours(&self, format: PrecisionChoice) -> Result<Measured> {
        let mut alone = Baselines::default();
        let undropped = match self.args.baselines.0.contains(&Mode::Published) {
            true => {
                let mut model = self.model(format, 0.0)?;
                let blocks = Blocks { steps: COMPARED, warm_up: 0, counted: 1 };
                take(&mut model, &self.corpus, self.recipe(), blocks, &mut alone, false)?.0.losses
            }
            false => vec![],
        };
        devices::peak_bytes(self.device)?;
        let mut model = self.model(format, DROPOUT)?;
        let mut take = |blocks, profiled| {
            take(&mut model, &self.corpus, self.recipe(), blocks, &mut alone, profiled)
        };
        let (ours, _) = take(self.blocks, false)?;
        let peak_bytes = devices::peak_bytes(self.device)?;
        let profiled = Blocks { steps: BLOCK, warm_up: 1, counted: 1 };
        take(profiled, true)?;
        let profile = qrnn_ops::profile::stop()?;
        Ok(Measured { format, ours, profile, peak_bytes, undropped })
    }

    /// Ours in one format and the peers, a block each after the other.
    fn in_turns(
        &self,
        format: PrecisionChoice,
        baselines: &mut Baselines,
    ) -> Result<(StepTimes, Theirs)> {
        let mut model = self.model(format, DROPOUT)?;
        take(&mut model, &self.corpus, self.recipe(), self.blocks, baselines, false)
    }

    /// What a step must do at least.
    fn pieces(&self, format: PrecisionChoice) -> Vec<KernelCost> {
        let tokens = self.corpus.tokens(Split::Train);
        let counts = random_tokens::count_by_cluster(tokens, &self.borders);
        let share = |count: &usize| self.words() * *count as f64 / tokens.len() as f64;
        let reading = lower_bound::Reading {
            words: self.words(),
            distinct: self.distinct(),
            in_tails: counts[1..].iter().map(share).collect(),
            format,
        };
        lower_bound::pieces(&self.config(DROPOUT), &self.borders, &reading)
    }

    fn shown(&self, measured: &Measured, roofline: &Roofline) -> (String, Value) {
        let (format, rate) = (measured.format, roofline.rate(measured.format));
        let pieces = self.pieces(format);
        // `max` would take the bytes alone for the floor.
        let floor = match rate.is_nan() {
            true => f64::NAN,
            false => lower_bound::seconds(&pieces, rate, roofline.bandwidth),
        };
        let (text, mut value) = shown::step(measured, self.words(), floor, roofline);
        value["model"] = json!(self.shape.to_string());
        value["splits"] = json!(self.borders);
        let counted = pieces.into_iter().map(|piece| {
            json!({"kernel": piece.name, "operations": piece.operations, "bytes": piece.bytes})
        });
        value["counted"] = counted.collect();
        (text, value)
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
        let on_gpu = (
            "300-1800-split".to_owned(),
            40,
            300,
            208,
            vec![2800, 20_000, 76_000],
            vec![PrecisionChoice::Bf16, PrecisionChoice::Tf32, PrecisionChoice::Fp32],
        );
        assert_eq!(sizes(&["--device", "cuda"]), on_gpu);
        let asked = sizes(&["--device", "cuda", "--bptt", "7", "--formats", "bf16"]);
        assert_eq!((asked.1, asked.2, asked.5), (40, 7, vec![PrecisionChoice::Bf16]));
        let on_cpu = sizes(&[]);
        assert_eq!((on_cpu.1, on_cpu.2, on_cpu.3), (20, 70, 7));
    }
}
