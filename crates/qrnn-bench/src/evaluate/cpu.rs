//! `qrnn-bench evaluate` on the CPU.

use std::fmt::Write as _;

use qrnn::data::{Corpus, Split};
use qrnn::evaluate::{EvalOptions, evaluate_split};
use qrnn::model::{LmConfig, QrnnLm, Splits};
use qrnn::progress::Silent;
use qrnn::terminal;
use qrnn::{Error, Result, paper};
use qrnn_ops::profile;
use serde_json::json;
use tch::{Device, Kind};

use super::args::Args;
use super::text::{shown_text, write_text};
use crate::report::Report;
use crate::statistics::median;
use crate::torch_model::{self, TorchModel, write_inputs};
use crate::{matmuls, precision};
use qrnn::command_line::Output;

/// Window length in tokens.
const WINDOW: usize = 140;

pub fn run(args: &Args, json: bool) -> Result<Output> {
    precision::check(&args.formats, Device::Cpu)?;
    qrnn_ops::libtorch::keep_freed_memory();
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
    write_text(&args.data, folder.path(), args.tokens)?;
    let corpus = Corpus::from_text(folder.path())?;
    let tokens = corpus.tokens(Split::Test);
    let entry = paper::entry();
    let config =
        LmConfig::paper(entry.published.emsize, entry.published.nhid).vocab(corpus.vocab().len());
    let borders = Splits::Auto.borders(config.vocab)?;
    let mut model = QrnnLm::seeded(&config, (Kind::Float, Device::Cpu), 1)?;
    write_inputs(folder.path(), &model, tokens)?;
    let settings = torch_model::Settings {
        folder: folder.path(),
        splits: &borders,
        batch: 1,
        bptt: WINDOW,
        bf16: false,
    };
    let mut baseline = TorchModel::start(&args.baseline_flags.python, &settings)?;

    let mut ours: Vec<(Vec<f64>, f64)> = vec![(vec![], f64::NAN); args.formats.len()];
    let mut profiles = vec![profile::Profile::default(); args.formats.len()];
    let (mut theirs, mut theirs_loss) = (vec![], f64::NAN);
    for run in 0..args.runs {
        terminal::note(format_args!("run {} of {} ...", run + 1, args.runs));
        for (i, format) in args.formats.iter().enumerate() {
            model.set_precision(format.precision());
            profile::start();
            let options = EvalOptions::original(Split::Test, WINDOW);
            let evaluation = evaluate_split(&model, &corpus, Split::Test, &options, &mut Silent)?;
            profiles[i] = profile::stop()?;
            ours[i].0.push(evaluation.seconds);
            ours[i].1 = evaluation.loss;
        }
        if let Some(baseline) = &mut baseline {
            let (mut seconds, mut sum) = (0.0, 0.0);
            baseline.tell("restart")?;
            for _ in 0..(tokens.len() - 1).div_ceil(WINDOW) {
                let answer = baseline.run("evaluate")?;
                seconds += answer.seconds;
                sum += answer.loss;
            }
            theirs.push(seconds);
            theirs_loss = sum / (tokens.len() - 1) as f64;
        }
    }

    let mut text =
        format!("{}, windows of {WINDOW}", shown_text(&model, tokens, &borders, args.runs));
    let mut report = Report::new("evaluate", Device::Cpu, &args.record, json)?;
    let full_ratio = 245_569.0 / tokens.len() as f64;
    let against = (!theirs.is_empty()).then(|| median(theirs));
    for ((format, (seconds, loss)), profile) in args.formats.iter().zip(ours).zip(&profiles) {
        let seconds = median(seconds);
        let products = matmuls::measure(&profile.matmuls, format.precision(), 3)?;
        let _ = write!(
            text,
            "\n{:<6} {seconds:7.2} s ({:.0} s for all 245,569 tokens)   its matrix products {:.2} s \
             ({:.0} GFLOP/s), {:.0} %",
            format.name(),
            seconds * full_ratio,
            products.seconds,
            1e-9 * products.operations / products.seconds,
            100.0 * products.seconds / seconds,
        );
        let mut value = json!({"what": "evaluation of the entry", "format": format.name(),
            "tokens": tokens.len(), "seconds": seconds, "loss": loss, "runs": args.runs,
            "floor": "its matrix products alone", "floor_seconds": products.seconds,
            "operations": products.operations, "share_in_products": products.seconds / seconds});
        if let (Some(theirs), Some(baseline)) = (against, &baseline) {
            let _ = write!(text, "   PyTorch: {:.2} times as long", theirs / seconds);
            value["against"] = json!(format!("{}, fp32", baseline.version));
            value["against_seconds"] = json!(theirs);
            value["ratio"] = json!(theirs / seconds);
            value["loss_difference"] = json!((loss - theirs_loss).abs());
        }
        report.add(value)?;
    }
    match (against, &baseline) {
        (Some(theirs), Some(baseline)) => {
            let _ = write!(text, "\n{}, fp32: {theirs:.2} s", baseline.version);
        }
        _ => {
            let _ = write!(
                text,
                "\nno baseline: {} has no torch (--python)",
                args.baseline_flags.python
            );
        }
    }
    Ok(report.finish(text))
}
