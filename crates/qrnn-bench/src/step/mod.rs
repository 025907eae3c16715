//! Training steps: first ours in every precision, compared with the device's limits and a lower bound;
//! then ours and those of the PyTorch baselines, interleaved.

mod args;
mod comparison;
mod interleaved;
mod lower_bound;
mod summary;
mod workload;

pub use args::{Args, MemoryArgs};
use qrnn::command_line::{Output, peak_bytes};
use qrnn::data::Split;
use qrnn::terminal;
use qrnn::{Error, Result};
use qrnn_ops::profile;
use serde_json::json;
use tch::Device;

use crate::baselines::Baselines;
use crate::baselines::step::{EXACT, Setting, write_inputs};
use crate::precision::{self, PrecisionChoice};
use crate::random_tokens;
use crate::report::{Report, merged};
use crate::roofline::Roofline;
use crate::shape::Shape;
use crate::stages;
use interleaved::{Blocks, run_steps};
use summary::Measured;
use workload::{DROPOUT, Workload};

/// Steps without dropout whose losses are compared with those of a baseline.
const COMPARED: usize = 4;

/// The largest number of profiled steps.
const PROFILED: usize = 16;

pub fn run(args: &Args, json: bool) -> Result<Output> {
    let device = args.work.device.device()?;
    precision::check(&args.work.formats, device)?;
    qrnn_ops::libtorch::keep_freed_memory();
    let mut report = Report::new("step", device, &args.record, json)?;
    let roofline = Roofline::measure(device, &args.work.formats, &mut report)?;
    let (mut bars, mut closing) = (vec![], String::new());
    for &shape in &args.work.models {
        let bench = Bench::new(args, shape, device)?;
        report.print(bench.description());
        closing = bench.run(&roofline, &mut bars, &mut report)?;
    }
    if let Some(path) = &args.profile {
        stages::render(&bars, path)?;
        closing += &format!("\nwrote {}", path.display());
    }
    Ok(report.finish(closing))
}

/// `step-memory`: trains some steps of every model in every precision, and reports the peak memory of this
/// process, or of tensors on a GPU.
pub fn run_memory(args: &MemoryArgs) -> Result<Output> {
    let device = args.work.device.device()?;
    precision::check(&args.work.formats, device)?;
    let blocks = Blocks { steps: 1, warm_up: 0, counted: args.steps as usize };
    for &shape in &args.work.models {
        let work = Workload::new(&args.work, shape, device, blocks.steps())?;
        for &format in &args.work.formats {
            let mut model = work.model(format, DROPOUT)?;
            run_steps(&mut model, &work, blocks, &mut Baselines::default(), false)?;
        }
    }
    let peak = match device {
        Device::Cuda(_) => crate::device::peak_bytes(device)?,
        _ => peak_bytes().map(|bytes| bytes as f64),
    };
    let peak = peak.ok_or_else(|| Error::Unavailable {
        what: "the peak memory of a process".into(),
        problem: "/proc/self/status does not have it".into(),
        remedy: "measure on Linux".into(),
    })?;
    Ok(Output::done(format!("peak memory {:.2} GB", peak / 1e9), json!({"peak_bytes": peak})))
}

/// The benchmark of one model.
struct Bench<'a> {
    args: &'a Args,
    work: Workload<'a>,
    blocks: Blocks,
    profiled: Blocks,
}

impl<'a> Bench<'a> {
    fn new(args: &'a Args, shape: Shape, device: Device) -> Result<Self> {
        // On a GPU the losses of a block are copied together, since the copy synchronizes.
        let steps = args.steps as usize;
        let blocks = if device.is_cuda() {
            Blocks { steps: 16, warm_up: 4, counted: steps.div_ceil(16) }
        } else {
            Blocks { steps: 1, warm_up: 2, counted: steps }
        };
        let profiled = Blocks { steps: steps.min(PROFILED), warm_up: 1, counted: 1 };
        let longest = blocks.steps().max(profiled.steps()).max(COMPARED);
        let work = Workload::new(&args.work, shape, device, longest)?;
        Ok(Self { args, work, blocks, profiled })
    }

    fn description(&self) -> String {
        let Workload { flags, shape, corpus, .. } = &self.work;
        let Blocks { steps, warm_up, counted } = self.blocks;
        format!(
            "\n{shape}: training steps of {:.0} tokens (batch size {}, sequence length {}), dropout {DROPOUT}, on \
             {} of {} types\ntokens by cluster: {}; {} distinct tokens per step; medians of {} steps in \
             interleaved blocks of {steps}, after {}",
            self.work.words(),
            flags.batch_size,
            flags.bptt,
            corpus.name(),
            corpus.vocab().len(),
            random_tokens::shares(corpus.tokens(Split::Train), &self.work.borders),
            self.work.distinct(),
            counted * steps,
            warm_up * steps,
        )
    }

    /// Measures our steps, then the baselines. Returns the closing text.
    fn run(
        &self,
        roofline: &Roofline,
        bars: &mut Vec<stages::Bar>,
        report: &mut Report,
    ) -> Result<String> {
        let work = &self.work;
        let model = work.shape.to_string();
        let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
        let tokens = work.corpus.tokens(Split::Train);
        write_inputs(folder.path(), &work.model(PrecisionChoice::Fp32, 0.0)?, tokens)?;
        let setting = Setting {
            folder: folder.path(),
            device: work.device,
            splits: &work.borders,
            batch: work.flags.batch_size,
            dropout: DROPOUT,
            clip: work.recipe().clip,
        };
        let specs = setting.specs(&self.args.peers);
        let mut baselines = Baselines::spawn(&self.args.baseline_flags, specs, work.device)?;
        let mut ours = vec![];
        for &format in &work.flags.formats {
            terminal::note(format_args!("{model} {} ...", format.name()));
            match self.measure(format) {
                Ok(measured) => {
                    bars.push(measured.bar(&model));
                    let (text, value) = measured.summary(work, roofline);
                    report.print(text);
                    let of = json!({"model": model, "splits": work.borders});
                    ours.push((measured, report.add(merged(value, of))?));
                }
                Err(error) => report.failed(
                    &format!("the training step in {}", format.name()),
                    json!({"what": "training step", "model": model, "format": format.name()}),
                    &error,
                )?,
            }
        }
        baselines.hello();
        self.compare_losses(&ours, &mut baselines, report)?;
        for (measured, index) in &ours {
            if !baselines.live.is_empty() {
                self.compare_times(measured, *index, &mut baselines, report)?;
            }
        }
        let indices: Vec<usize> = ours.iter().map(|(_, index)| *index).collect();
        baselines.report_left_out("training step", &indices, report)?;
        Ok(format!("\n{}", baselines.closing()))
    }

    /// Measures our steps in one precision.
    fn measure(&self, format: PrecisionChoice) -> Result<Measured> {
        let work = &self.work;
        let mut none = Baselines::default();
        let undropped = if self.args.peers.iter().any(|name| EXACT.contains(&name.as_str())) {
            let mut model = work.model(format, 0.0)?;
            let blocks = Blocks { steps: COMPARED, warm_up: 0, counted: 1 };
            run_steps(&mut model, work, blocks, &mut none, false)?.0.losses
        } else {
            vec![]
        };
        crate::device::peak_bytes(work.device)?;
        let mut model = work.model(format, DROPOUT)?;
        let (ours, _) = run_steps(&mut model, work, self.blocks, &mut none, false)?;
        let peak_bytes = work.peak_bytes(format)?;
        run_steps(&mut model, work, self.profiled, &mut none, true)?;
        let totals = profile::stop()?.totals().into_iter();
        let stages = totals.map(|(stage, seconds)| (stage, seconds / self.profiled.steps as f64));
        Ok(Measured { format, ours, stages: stages.collect(), peak_bytes, undropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::parsed;

    #[test]
    fn defaults_are_those_of_the_entry_on_a_gpu_and_small_on_the_cpu() {
        let sizes = |words: &[&str]| {
            let Args { work, steps, peers, .. } = parsed(words);
            let models: Vec<_> = work.models.iter().map(Shape::to_string).collect();
            let tokens = (work.batch_size, work.bptt, work.types);
            (models.join(" "), tokens, steps, work.splits, work.formats, peers)
        };
        let on_gpu = (
            "300-1800-split".to_owned(),
            (40, 300, 267_735),
            208,
            vec![2800, 20_000, 76_000],
            vec![PrecisionChoice::Bf16, PrecisionChoice::Tf32, PrecisionChoice::Fp32],
            ["published", "tf32", "tuned"].map(String::from).to_vec(),
        );
        assert_eq!(sizes(&["--device", "cuda"]), on_gpu);
        let changed = sizes(&["--device", "cuda", "--bptt", "7", "--formats", "bf16"]);
        assert_eq!((changed.1.1, changed.4), (7, vec![PrecisionChoice::Bf16]));
        let on_cpu = sizes(&[]);
        assert_eq!((on_cpu.1, on_cpu.2), ((20, 70, 28_441), 7));
        assert_eq!(on_cpu.5, ["fp32", "bf16"]);
    }
}
