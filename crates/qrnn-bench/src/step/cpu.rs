//! `qrnn-bench step` on the CPU.

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
use crate::torch_model::{Settings, TorchModel, write_inputs};
use qrnn::command_line::{Output, load_corpus, peak_bytes};

/// Steps before the measurement: memory is allocated, threads start.
const WARM_UP: usize = 2;

/// Pause between implementations: idle threads spin for a while before they sleep, and would slow
/// down the next one.
const PAUSE: Duration = Duration::from_millis(30);

/// A model in one precision.
struct Case<'a> {
    shape: Shape,
    format: PrecisionChoice,
    /// First tokens of the tails.
    splits: Vec<usize>,
    corpus: &'a Corpus,
    args: &'a Args,
}

/// The measurements of a case.
struct Measured {
    /// Seconds of each of our measured steps.
    ours: Vec<f64>,
    /// Seconds of PyTorch's steps in fp32.
    theirs: Vec<f64>,
    /// Seconds of PyTorch's steps in bf16.
    theirs_bf16: Vec<f64>,
    /// Largest difference of a step's loss from PyTorch's in fp32.
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
        "training steps of {} tokens (batch size {}, sequence length {}) on {}, {} types; medians of {} \
         interleaved steps",
        args.batch_size * args.bptt,
        args.batch_size,
        args.bptt,
        corpus.name(),
        corpus.vocab().len(),
        args.steps,
    ));
    let mut bars = vec![];
    for case in cases {
        terminal::note(format_args!("{} {} ...", case.shape, case.format.name()));
        let measured = case.measure(true)?;
        let products = matmuls::measure(&measured.profile.matmuls, case.format.precision(), 3)?;
        let (text, value) = case.report(&measured, &products)?;
        report.print(text);
        report.add(value)?;
        let name = format!("{} {}", case.shape, case.format.name());
        bars.push(stages::Bar::new(name, &measured.profile, median(measured.ours), args.steps));
    }
    let mut closing = stages::table(&bars);
    if let Some(path) = &args.profile {
        stages::render(&bars, path)?;
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

    /// Runs training steps, interleaved with those of the baselines if `compares` is set.
    fn measure(&self, compares: bool) -> Result<Measured> {
        let args = self.args;
        let mut model = self.model()?;
        let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
        let baselines = if compares { self.baselines(folder.path(), &model)? } else { vec![] };
        let interrupt = Interrupt::default();
        let state = Arc::new(Mutex::new(Interleaved {
            baselines,
            steps: WARM_UP + args.steps as usize,
            interrupt: interrupt.clone(),
            step_start: Instant::now(),
            ours: vec![],
            theirs: [vec![], vec![]],
            difference: 0.0,
            error: None,
        }));
        let recipe =
            Recipe { fixed_bptt: true, ..Recipe::paper().bptt(args.bptt).batch(args.batch_size) };
        Trainer::new(recipe).interrupt(interrupt).fit_with(
            &mut model,
            self.corpus,
            &mut InterleavedProgress(state.clone()),
        )?;
        let profile = profile::stop()?;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        let measured = |seconds: &[f64]| seconds.iter().skip(WARM_UP).copied().collect();
        Ok(Measured {
            ours: measured(&state.ours),
            theirs: measured(&state.theirs[0]),
            theirs_bf16: measured(&state.theirs[1]),
            difference: state.difference,
            baseline: state.baselines.first().map(|baseline| baseline.version.clone()),
            profile,
        })
    }

    /// PyTorch in fp32, and for bf16 also in bf16.
    fn baselines(&self, folder: &Path, model: &QrnnLm) -> Result<Vec<TorchModel>> {
        let args = self.args;
        write_inputs(folder, model, self.corpus.tokens(Split::Train))?;
        let mut baselines = vec![];
        for bf16 in [false, true] {
            let settings = Settings {
                folder,
                splits: &self.splits,
                batch: args.batch_size,
                bptt: args.bptt,
                bf16,
            };
            if !bf16 || self.format == PrecisionChoice::Bf16 {
                baselines.extend(TorchModel::start(&args.baseline_flags.python, &settings)?);
            }
        }
        Ok(baselines)
    }

    /// Text and JSON of a case.
    fn report(&self, measured: &Measured, products: &MatmulTime) -> Result<(String, Value)> {
        let words = (self.args.batch_size * self.args.bptt) as f64;
        let steps = f64::from(self.args.steps);
        let (product_seconds, operations) = (products.seconds / steps, products.operations / steps);
        let seconds = median(measured.ours.clone());
        let peak = subprocess::peak_bytes(&self.arguments())?;
        let mut text = format!(
            "\n{} {}: {:.0} tokens/s, {:.1} ms per step\n\
             its matrix products {:.1} ms ({:.0} GFLOP/s), {:.0} % of the step; peak memory {:.2} GB",
            self.shape,
            self.format.name(),
            words / seconds,
            1e3 * seconds,
            1e3 * product_seconds,
            1e-9 * operations / product_seconds,
            100.0 * product_seconds / seconds,
            peak / 1e9,
        );
        let mut value = json!({"what": "training step", "model": self.shape.to_string(),
            "format": self.format.name(), "splits": self.splits, "seconds": seconds,
            "words_per_second": words / seconds, "floor": "its matrix products alone",
            "floor_seconds": product_seconds, "operations": operations, "share_in_products": product_seconds / seconds,
            "peak_bytes": peak, "runs": self.args.steps});
        let Some(baseline) = &measured.baseline else {
            text += &format!(
                "\nno baseline: {} has no torch (--python)",
                self.args.baseline_flags.python
            );
            return Ok((text, value));
        };
        let theirs = median(measured.theirs.clone());
        text += &format!(
            "\n{baseline}, fp32: {:.0} tokens/s, {:.1} ms: {:.2} times as long; losses differ by at most {:.1e}",
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

    /// The arguments that run this case without baselines.
    fn arguments(&self) -> Vec<String> {
        let args = self.args;
        let splits: Vec<String> = args.splits.iter().map(usize::to_string).collect();
        let mut arguments: Vec<String> =
            ["step", "--json", "--alone", "--steps", "2"].map(Into::into).into();
        let flags = [
            ("--models", self.shape.to_string()),
            ("--formats", self.format.name().into()),
            ("--splits", splits.join(",")),
            ("--batch-size", args.batch_size.to_string()),
            ("--bptt", args.bptt.to_string()),
        ];
        arguments.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        if let Some(data) = &args.data {
            arguments.extend(["--data".into(), data.display().to_string()]);
        }
        arguments
    }
}

/// The state of interleaved steps.
struct Interleaved {
    baselines: Vec<TorchModel>,
    steps: usize,
    interrupt: Interrupt,
    /// The start of our current step.
    step_start: Instant,
    ours: Vec<f64>,
    theirs: [Vec<f64>; 2],
    difference: f64,
    error: Option<Error>,
}

struct InterleavedProgress(Arc<Mutex<Interleaved>>);

impl Progress for InterleavedProgress {
    fn start(&mut self, _: &Task) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).step_start = Instant::now();
    }

    fn step(&mut self, step: &StepReport) {
        let state = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.ours.push(state.step_start.elapsed().as_secs_f64());
        let has_baselines = !state.baselines.is_empty();
        let pause = || {
            if has_baselines {
                std::thread::sleep(PAUSE)
            }
        };
        for (i, baseline) in state.baselines.iter_mut().enumerate() {
            pause();
            match baseline.run("step") {
                Ok(answer) => {
                    state.theirs[i].push(answer.seconds);
                    if i == 0 {
                        state.difference = state.difference.max((answer.loss - step.loss).abs());
                    }
                }
                Err(error) => {
                    state.error = Some(error);
                    state.interrupt.request();
                }
            }
        }
        if state.ours.len() >= state.steps {
            state.interrupt.request();
        }
        if state.ours.len() == WARM_UP {
            profile::start();
        }
        pause();
        state.step_start = Instant::now();
    }
}
