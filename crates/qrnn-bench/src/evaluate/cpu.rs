//! `reproduce bench evaluate`

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

/// The window in words.
const WINDOW: usize = 140;

pub fn run(args: &Args, json: bool) -> Result<Output> {
    precision::check(&args.formats, Device::Cpu)?;
    qrnn_ops::libtorch::keep_freed_memory();
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
    write_text(&args.data, folder.path(), args.tokens)?;
    let corpus = Corpus::from_text(folder.path())?;
    let tokens = corpus.tokens(Split::Test);
    let entry = paper::entry();
    let config = LmConfig::paper(entry.emsize, entry.nhid).vocab(corpus.vocab().len());
    let borders = Splits::Auto.borders(config.vocab)?;
    let mut model = QrnnLm::seeded(&config, (Kind::Float, Device::Cpu), 1)?;
    write_inputs(folder.path(), &model, tokens)?;
    let reading = torch_model::Reading {
        folder: folder.path(),
        splits: &borders,
        batch: 1,
        bptt: WINDOW,
        bf16: false,
    };
    let mut opponent = TorchModel::start(&args.peer_flags.python, &reading)?;

    let mut ours: Vec<(Vec<f64>, f64)> = vec![(vec![], f64::NAN); args.formats.len()];
    let mut profiles = vec![profile::Profile::default(); args.formats.len()];
    let (mut theirs, mut their_loss) = (vec![], f64::NAN);
    for turn in 0..args.runs {
        terminal::note(format_args!("turn {} of {} ...", turn + 1, args.runs));
        for (i, format) in args.formats.iter().enumerate() {
            model.set_precision(format.precision());
            profile::start();
            let options = EvalOptions::original(Split::Test, WINDOW);
            let evaluation = evaluate_split(&model, &corpus, Split::Test, &options, &mut Silent)?;
            profiles[i] = profile::stop()?;
            ours[i].0.push(evaluation.seconds);
            ours[i].1 = evaluation.loss;
        }
        if let Some(opponent) = &mut opponent {
            let (mut seconds, mut sum) = (0.0, 0.0);
            opponent.tell("restart")?;
            for _ in 0..(tokens.len() - 1).div_ceil(WINDOW) {
                let answer = opponent.run("evaluate")?;
                seconds += answer.seconds;
                sum += answer.loss;
            }
            theirs.push(seconds);
            their_loss = sum / (tokens.len() - 1) as f64;
        }
    }

    let mut text =
        format!("{}, windows of {WINDOW}", shown_text(&model, tokens, &borders, args.runs));
    let mut report = Report::new("evaluate", Device::Cpu, &args.record, json)?;
    let whole = 245_569.0 / tokens.len() as f64;
    let against = (!theirs.is_empty()).then(|| median(theirs));
    for ((format, (seconds, loss)), profile) in args.formats.iter().zip(ours).zip(&profiles) {
        let seconds = median(seconds);
        let alone = matmuls::alone(&profile.matmuls, format.precision(), 3)?;
        let _ = write!(
            text,
            "\n{:<6} {seconds:7.2} s ({:.0} s for all 245,569 words)   matrix products alone {:.2} s \
             ({:.0} GFLOP/s), {:.0} %",
            format.name(),
            seconds * whole,
            alone.seconds,
            1e-9 * alone.operations / alone.seconds,
            100.0 * alone.seconds / seconds,
        );
        let mut value = json!({"what": "evaluation of the entry", "format": format.name(),
            "tokens": tokens.len(), "seconds": seconds, "loss": loss, "runs": args.runs,
            "floor": "its matrix products alone", "floor_seconds": alone.seconds,
            "operations": alone.operations, "share_in_products": alone.seconds / seconds});
        if let (Some(theirs), Some(opponent)) = (against, &opponent) {
            let _ = write!(text, "   PyTorch takes {:.2} times as long", theirs / seconds);
            value["against"] = json!(format!("{}, fp32", opponent.version));
            value["against_seconds"] = json!(theirs);
            value["ratio"] = json!(theirs / seconds);
            value["loss_difference"] = json!((loss - their_loss).abs());
        }
        report.note(value)?;
    }
    match (against, &opponent) {
        (Some(theirs), Some(opponent)) => {
            let _ = write!(text, "\n{}, fp32: {theirs:.2} s", opponent.version);
        }
        _ => {
            let _ = write!(
                text,
                "\nno PyTorch to measure against: {} has no torch (--python)",
                args.peer_flags.python
            );
        }
    }
    Ok(report.done(text))
}
