//! `qrnn-bench step` on a GPU: first our steps in every precision, compared with the device's limits
//! and a lower bound; then the baselines and our steps in the first precision, interleaved.

use std::collections::HashSet;

use qrnn::data::{Corpus, Split};
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::terminal;
use qrnn::train::Recipe;
use qrnn::{Error, Result};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::args::Args;
use super::interleaved::{BLOCK, Blocks, StepTimes, Theirs, run_steps};
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

/// Probability of the entry's locked dropouts.
pub const DROPOUT: f64 = 0.1;

/// Steps without dropout whose losses are compared with the published step's.
pub const COMPARED: usize = 4;

pub fn run(args: &Args, device: Device, json: bool) -> Result<Output> {
    precision::check(&args.formats, device)?;
    qrnn_ops::libtorch::keep_freed_memory();
    let mut report = Report::new("step", device, &args.record, json)?;
    terminal::note("measuring the device's limits ...");
    let roofline = Roofline::measure(device, &args.formats)?;
    roofline.report(&mut report)?;
    let mut closing = String::new();
    for &shape in &args.models {
        let bench = Bench::new(args, shape, device)?;
        report.print(bench.description());
        closing = bench.run(&roofline, &mut report)?;
    }
    Ok(report.finish(closing))
}

/// The benchmark of one model.
pub struct Bench<'a> {
    pub args: &'a Args,
    pub shape: Shape,
    device: Device,
    corpus: Corpus,
    /// First tokens of the tails.
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
        let splits =
            if self.borders.is_empty() { Splits::None } else { Splits::At(self.borders.clone()) };
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

    fn description(&self) -> String {
        format!(
            "\n{}: training steps of {:.0} tokens (batch size {}, sequence length {}), dropout {DROPOUT}, on \
             {} of {} types\ntokens by cluster: {}; {:.0} distinct tokens per step; medians of {} steps in \
             interleaved blocks of {BLOCK}, after {}",
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

    /// The number of distinct tokens in the first step.
    fn distinct(&self) -> f64 {
        let tokens = self.corpus.tokens(Split::Train);
        let column = tokens.len() / self.args.batch_size;
        let words = (0..self.args.batch_size)
            .flat_map(|b| tokens[b * column..].iter().take(self.args.bptt.min(column)));
        words.collect::<HashSet<_>>().len() as f64
    }

    /// Measures our steps, then the baselines. Returns the closing text.
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
        // The baselines start while our steps are measured.
        let mut baselines =
            Baselines::spawn(&self.args.baseline_flags, setting.specs(&self.args.baselines.0))?;
        let mut ours = vec![];
        for &format in &self.args.formats {
            terminal::note(format_args!("{} {} ...", self.shape, format.name()));
            match self.measure(format) {
                Ok(measured) => {
                    let (text, value) = self.describe(&measured, roofline);
                    report.print(text);
                    let index = report.add(value)?;
                    ours.push((measured, index));
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
        self.compare_losses(&ours, &mut baselines, report)?;
        if let (Some((anchor, _)), false) = (ours.first(), baselines.live.is_empty()) {
            terminal::note(format_args!(
                "{} {} and the baselines, interleaved ...",
                self.shape,
                anchor.format.name()
            ));
            match self.interleave(anchor.format, &mut baselines) {
                Ok((interleaved, theirs)) => {
                    self.compare_times(&ours, &interleaved, &baselines, &theirs, report)?
                }
                Err(error) => {
                    let fields = json!({"what": "interleaved", "of": "training step",
                        "model": self.shape.to_string(), "format": anchor.format.name()});
                    report.failed(
                        "the training step interleaved with the baselines",
                        fields,
                        &error,
                    )?;
                }
            }
        }
        self.report_left_out(&ours, &baselines, report)?;
        Ok(format!("\n{}", baselines.closing()))
    }

    /// Measures our steps in one precision.
    fn measure(&self, format: PrecisionChoice) -> Result<Measured> {
        let mut none = Baselines::default();
        let undropped = if self.args.baselines.0.contains(&Mode::Published) {
            let mut model = self.model(format, 0.0)?;
            let blocks = Blocks { steps: COMPARED, warm_up: 0, counted: 1 };
            run_steps(&mut model, &self.corpus, self.recipe(), blocks, &mut none, false)?.0.losses
        } else {
            vec![]
        };
        devices::peak_bytes(self.device)?;
        let mut model = self.model(format, DROPOUT)?;
        let mut run = |blocks, profiled| {
            run_steps(&mut model, &self.corpus, self.recipe(), blocks, &mut none, profiled)
        };
        let (ours, _) = run(self.blocks, false)?;
        let peak_bytes = devices::peak_bytes(self.device)?;
        let profiled = Blocks { steps: BLOCK, warm_up: 1, counted: 1 };
        run(profiled, true)?;
        let profile = qrnn_ops::profile::stop()?;
        Ok(Measured { format, ours, profile, peak_bytes, undropped })
    }

    /// Runs our steps in one precision and those of the baselines in interleaved blocks.
    fn interleave(
        &self,
        format: PrecisionChoice,
        baselines: &mut Baselines,
    ) -> Result<(StepTimes, Theirs)> {
        let mut model = self.model(format, DROPOUT)?;
        run_steps(&mut model, &self.corpus, self.recipe(), self.blocks, baselines, false)
    }

    /// The kernels of the lower bound.
    fn kernels(&self, format: PrecisionChoice) -> Vec<KernelCost> {
        let tokens = self.corpus.tokens(Split::Train);
        let counts = random_tokens::count_by_cluster(tokens, &self.borders);
        let share = |count: &usize| self.words() * *count as f64 / tokens.len() as f64;
        let workload = lower_bound::Workload {
            words: self.words(),
            distinct: self.distinct(),
            in_tails: counts[1..].iter().map(share).collect(),
            format,
        };
        lower_bound::kernels(&self.config(DROPOUT), &self.borders, &workload)
    }

    /// Text and JSON of a measurement.
    fn describe(&self, measured: &Measured, roofline: &Roofline) -> (String, Value) {
        let (format, rate) = (measured.format, roofline.rate(measured.format));
        let kernels = self.kernels(format);
        // `max` in `seconds` would ignore a NaN.
        let bound = if rate.is_nan() {
            f64::NAN
        } else {
            lower_bound::seconds(&kernels, rate, roofline.bandwidth)
        };
        let (text, mut value) = shown::step(measured, self.words(), bound, roofline);
        value["model"] = json!(self.shape.to_string());
        value["splits"] = json!(self.borders);
        let counted = kernels.into_iter().map(|kernel| {
            json!({"kernel": kernel.name, "operations": kernel.operations, "bytes": kernel.bytes})
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
    fn defaults_are_those_of_the_entry_on_a_gpu_and_small_on_the_cpu() {
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
        let changed = sizes(&["--device", "cuda", "--bptt", "7", "--formats", "bf16"]);
        assert_eq!((changed.1, changed.2, changed.5), (40, 7, vec![PrecisionChoice::Bf16]));
        let on_cpu = sizes(&[]);
        assert_eq!((on_cpu.1, on_cpu.2, on_cpu.3), (20, 70, 7));
    }
}
