//! `reproduce bench step`

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qrnn::data::{Corpus, Split};
use qrnn::interrupt::Interrupt;
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::progress::{Progress, StepReport, Task};
use qrnn::terminal;
use qrnn::train::{Recipe, Trainer};
use qrnn::{Error, Result};
use qrnn_ops::profile::{self, Profile};
use serde_json::{Value, json};
use tch::{Device, Kind};

use super::args::Args;
use crate::matmuls::{self, MatmulTime};
use crate::precision::{self, PrecisionChoice};
use crate::report::Report;
use crate::shape::Shape;
use crate::stages;
use crate::statistics::median;
use crate::subprocess;
use crate::torch_model::{Reading, TorchModel, write_inputs};
use qrnn::command_line::{Output, load_corpus, peak_bytes};

/// Steps that are not counted: memory is taken, threads start.
const WARM_UP: usize = 2;

/// Between two turns: threads that have nothing to do spin for a while before they sleep, and would
/// slow down whoever comes next.
const PAUSE: Duration = Duration::from_millis(30);

/// One model in one format.
struct Case<'a> {
    shape: Shape,
    format: PrecisionChoice,
    /// The tails' first words.
    splits: Vec<usize>,
    corpus: &'a Corpus,
    args: &'a Args,
}

/// What the steps of a case came to.
struct Measured {
    /// Seconds of each counted step of ours, and of each opponent's.
    ours: Vec<f64>,
    theirs: Vec<f64>,
    theirs_bf16: Vec<f64>,
    /// Largest difference of a step's loss from that of PyTorch in single precision.
    difference: f64,
    baseline: Option<String>,
    profile: Profile,
}

pub fn run(args: &Args, json: bool) -> Result<Output> {
    precision::check(&args.formats, Device::Cpu)?;
    let corpus = load_corpus(args.data.clone())?;
    let cases = args
        .models
        .iter()
        .flat_map(|&shape| args.formats.iter().map(move |&format| (shape, format)));
    let cases = cases.map(|(shape, format)| Case {
        shape,
        format,
        splits: args
            .splits
            .iter()
            .copied()
            .filter(|&at| shape.split && at < corpus.vocab().len())
            .collect(),
        corpus: &corpus,
        args,
    });
    if args.alone {
        for case in cases {
            case.measure(false)?;
        }
        let peak = peak_bytes();
        return Ok(Output::done(format!("{peak:?} bytes"), json!({"peak_bytes": peak})));
    }
    let mut report = Report::new("step", Device::Cpu, &args.record, json)?;
    report.print(format!(
        "training steps of {} words ({} columns of {}) on {}, {} word types; medians of {} steps in turns",
        args.batch_size * args.bptt,
        args.batch_size,
        args.bptt,
        corpus.name(),
        corpus.vocab().len(),
        args.steps,
    ));
    let mut drawn = vec![];
    for case in cases {
        terminal::note(format_args!("{} {} ...", case.shape, case.format.name()));
        let measured = case.measure(true)?;
        let alone = matmuls::measure(&measured.profile.matmuls, case.format.precision(), 3)?;
        let (said, value) = case.report(&measured, &alone)?;
        report.print(said);
        report.add(value)?;
        let name = format!("{} {}", case.shape, case.format.name());
        drawn.push(stages::Bar::new(name, &measured.profile, median(measured.ours), args.steps));
    }
    let mut closing = stages::table(&drawn);
    if let Some(path) = &args.profile {
        stages::draw(&drawn, path)?;
        closing += &format!("\nwrote {}", path.display());
    }
    Ok(report.finish(closing))
}

impl Case<'_> {
    fn model(&self) -> Result<QrnnLm> {
        let splits =
            if self.splits.is_empty() { Splits::None } else { Splits::At(self.splits.clone()) };
        let config = LmConfig::paper(self.shape.emsize, self.shape.nhid)
            .vocab(self.corpus.vocab().len())
            .locked_dropouts(0.0, 0.0, 0.0)
            .splits(splits);
        let mut model = QrnnLm::seeded(&config, (Kind::Float, Device::Cpu), 1)?;
        model.set_precision(self.format.precision());
        Ok(model)
    }

    /// Takes steps in turns with the opponents: the trainer's own, watched by its observer.
    fn measure(&self, against: bool) -> Result<Measured> {
        let args = self.args;
        let mut model = self.model()?;
        let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
        let baselines = match against {
            true => self.baselines(folder.path(), &model)?,
            false => vec![],
        };
        let interrupt = Interrupt::default();
        let turns = Arc::new(Mutex::new(Interleaved {
            baselines,
            steps: WARM_UP + args.steps as usize,
            interrupt: interrupt.clone(),
            since: Instant::now(),
            ours: vec![],
            theirs: [vec![], vec![]],
            difference: 0.0,
            failed: None,
        }));
        let recipe =
            Recipe { fixed_bptt: true, ..Recipe::paper().bptt(args.bptt).batch(args.batch_size) };
        Trainer::new(recipe).interrupt(interrupt).fit_with(
            &mut model,
            self.corpus,
            &mut InterleavedProgress(turns.clone()),
        )?;
        let profile = profile::stop()?;
        let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = turns.failed.take() {
            return Err(error);
        }
        let counted = |seconds: &[f64]| seconds.iter().skip(WARM_UP).copied().collect();
        Ok(Measured {
            ours: counted(&turns.ours),
            theirs: counted(&turns.theirs[0]),
            theirs_bf16: counted(&turns.theirs[1]),
            difference: turns.difference,
            baseline: turns.baselines.first().map(|baseline| baseline.version.clone()),
            profile,
        })
    }

    /// PyTorch in single precision, and for bf16 in bf16 too.
    fn baselines(&self, folder: &Path, model: &QrnnLm) -> Result<Vec<TorchModel>> {
        let args = self.args;
        write_inputs(folder, model, self.corpus.tokens(Split::Train))?;
        let mut baselines = vec![];
        for bf16 in [false, true] {
            let reading = Reading {
                folder,
                splits: &self.splits,
                batch: args.batch_size,
                bptt: args.bptt,
                bf16,
            };
            if !bf16 || self.format == PrecisionChoice::Bf16 {
                baselines.extend(TorchModel::start(&args.baseline_flags.python, &reading)?);
            }
        }
        Ok(baselines)
    }

    fn report(&self, measured: &Measured, alone: &MatmulTime) -> Result<(String, Value)> {
        let words = (self.args.batch_size * self.args.bptt) as f64;
        let steps = f64::from(self.args.steps);
        let (floor, operations) = (alone.seconds / steps, alone.operations / steps);
        let seconds = median(measured.ours.clone());
        let peak = subprocess::peak_bytes(&self.alone())?;
        let mut text = format!(
            "\n{} {}: {:.0} words/s, {:.1} ms a step\n\
             matrix products alone {:.1} ms ({:.0} GFLOP/s), {:.0} % of the step; peak memory {:.2} GB",
            self.shape,
            self.format.name(),
            words / seconds,
            1e3 * seconds,
            1e3 * floor,
            1e-9 * operations / floor,
            100.0 * floor / seconds,
            peak / 1e9,
        );
        let mut value = json!({"what": "training step", "model": self.shape.to_string(),
            "format": self.format.name(), "splits": self.splits, "seconds": seconds,
            "words_per_second": words / seconds, "floor": "its matrix products alone",
            "floor_seconds": floor, "operations": operations, "share_in_products": floor / seconds,
            "peak_bytes": peak, "runs": self.args.steps});
        let Some(baseline) = &measured.baseline else {
            text += &format!(
                "\nno PyTorch to measure against: {} has no torch (--python)",
                self.args.baseline_flags.python
            );
            return Ok((text, value));
        };
        let theirs = median(measured.theirs.clone());
        text += &format!(
            "\n{baseline}, fp32: {:.0} words/s, {:.1} ms: {:.2} times as long; losses differ by at most {:.1e}",
            words / theirs,
            1e3 * theirs,
            theirs / seconds,
            measured.difference,
        );
        value["against"] = json!(format!("{baseline}, fp32"));
        value["against_seconds"] = json!(theirs);
        value["ratio"] = json!(theirs / seconds);
        value["largest_loss_difference"] = json!(measured.difference);
        if !measured.theirs_bf16.is_empty() {
            let theirs = median(measured.theirs_bf16.clone());
            text += &format!(
                "\nbf16 by autocast: {:.1} ms: {:.2} times as long",
                1e3 * theirs,
                theirs / seconds
            );
            value["against_bf16_seconds"] = json!(theirs);
            value["ratio_bf16"] = json!(theirs / seconds);
        }
        Ok((text, value))
    }

    /// The call that takes this case's steps alone.
    fn alone(&self) -> Vec<String> {
        let args = self.args;
        let splits: Vec<String> = args.splits.iter().map(usize::to_string).collect();
        let mut call: Vec<String> =
            ["step", "--json", "--alone", "--steps", "2"].map(Into::into).into();
        let flags = [
            ("--models", self.shape.to_string()),
            ("--formats", self.format.name().into()),
            ("--splits", splits.join(",")),
            ("--batch-size", args.batch_size.to_string()),
            ("--bptt", args.bptt.to_string()),
        ];
        call.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        if let Some(data) = &args.data {
            call.extend(["--data".into(), data.display().to_string()]);
        }
        call
    }
}

/// Steps of ours and of the opponents, one after the other.
struct Interleaved {
    baselines: Vec<TorchModel>,
    steps: usize,
    interrupt: Interrupt,
    /// When our step began.
    since: Instant,
    ours: Vec<f64>,
    theirs: [Vec<f64>; 2],
    difference: f64,
    failed: Option<Error>,
}

struct InterleavedProgress(Arc<Mutex<Interleaved>>);

impl Progress for InterleavedProgress {
    fn start(&mut self, _: &Task) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).since = Instant::now();
    }

    fn step(&mut self, step: &StepReport) {
        let turns = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.ours.push(turns.since.elapsed().as_secs_f64());
        let alone = turns.baselines.is_empty();
        let pause = || {
            if !alone {
                std::thread::sleep(PAUSE)
            }
        };
        for (i, baseline) in turns.baselines.iter_mut().enumerate() {
            pause();
            match baseline.run("step") {
                Ok(answer) => {
                    turns.theirs[i].push(answer.seconds);
                    if i == 0 {
                        turns.difference = turns.difference.max((answer.loss - step.loss).abs());
                    }
                }
                Err(error) => {
                    turns.failed = Some(error);
                    turns.interrupt.request();
                }
            }
        }
        if turns.ours.len() >= turns.steps {
            turns.interrupt.request();
        }
        if turns.ours.len() == WARM_UP {
            profile::start();
        }
        pause();
        turns.since = Instant::now();
    }
}
