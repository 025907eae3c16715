//! Evaluation of a text in one column.

use qrnn::Result;
use qrnn::data::{Corpus, IdOrder, Split};
use qrnn::evaluate::{EvalOptions, Evaluation, evaluate_split};
use qrnn::model::QrnnLm;
use qrnn::progress::Silent;
use serde_json::json;

use super::args::Args;
use super::models::Model;
use crate::random_tokens::TokenSampler;
use crate::report::Report;
use crate::statistics::median;
use crate::text;

/// Relative difference of losses that only another order of additions explains.
const TOLERANCE: f64 = 1e-5;

pub fn run(args: &Args, models: &mut [Model], report: &mut Report) -> Result<()> {
    let (name, corpus): (String, Corpus) = match &args.text {
        Some(path) => (path.display().to_string(), text::corpus_of_file(path, args.types)?),
        None => {
            let tokens = TokenSampler::new(args.types)?.sample(args.tokens);
            // Ids keep their order by frequency in this training text.
            let splits = [vec![0; 20], tokens.clone(), tokens];
            ("random tokens".into(), Corpus::from_ids("random tokens", args.types, splits)?)
        }
    };
    let mut seconds = vec![vec![]; models.len()];
    let mut losses = vec![f64::NAN; models.len()];
    let mut tokens = 0;
    // Long texts need no run that is not measured.
    let warm_up = u32::from(args.text.is_none());
    for run in 0..args.runs + warm_up {
        for (i, model) in models.iter().enumerate() {
            let result = evaluate(&model.lm, &corpus)?;
            (losses[i], tokens) = (result.loss, result.tokens);
            if run >= warm_up {
                seconds[i].push(result.seconds);
            }
        }
    }
    let seconds: Vec<f64> = seconds.into_iter().map(median).collect();
    report.print(format!("evaluation of {tokens} tokens of {name}, one column"));
    for ((model, time), loss) in models.iter().zip(&seconds).zip(&losses) {
        let ratio = seconds[0] / time;
        report.print(format!(
            "  {:<14} {time:8.3} s   {:7.0} tokens/s   {ratio:.2} times the entry in fp32   loss {loss:.4}",
            model.name,
            tokens as f64 / time
        ));
        report.add(
            json!({"what": "evaluation", "of": model.name, "text": name, "tokens": tokens,
            "runs": args.runs, "seconds": time, "loss": loss,
            "against": models[0].name, "against_seconds": seconds[0], "ratio": ratio}),
        )?;
    }
    match args.text {
        Some(_) => Ok(()),
        None => compare_with_decoded(models, &corpus, &losses, report),
    }
}

/// Evaluates the compressed models once more with their decoded weights in fp32, the reference of their losses.
fn compare_with_decoded(
    models: &mut [Model],
    corpus: &Corpus,
    losses: &[f64],
    report: &mut Report,
) -> Result<()> {
    for (model, loss) in models.iter_mut().zip(losses).skip(1) {
        model.lm.use_packed_products(false);
        let decoded = evaluate(&model.lm, corpus)?;
        model.lm.use_packed_products(true);
        let difference = (loss - decoded.loss).abs() / decoded.loss;
        let (name, seconds) = (model.name, decoded.seconds);
        report.print(format!(
            "  {name}, decoded weights in fp32: {seconds:.3} s, losses differ by {difference:.1e} of them"
        ));
        report.add(json!({"what": "evaluation with decoded weights", "of": name,
            "seconds": seconds, "loss": decoded.loss, "against": "stored integers",
            "against_loss": loss, "relative_difference": difference}))?;
        if difference.is_nan() || difference > TOLERANCE {
            report.problem(format!(
                "{name}: integers and decoded weights differ by {difference:.1e}"
            ));
        }
    }
    Ok(())
}

fn evaluate(model: &QrnnLm, corpus: &Corpus) -> Result<Evaluation> {
    let corpus = corpus.in_order(model.ids().unwrap_or(IdOrder::FirstAppearance));
    let options = EvalOptions::one_column(model.config().bptt);
    evaluate_split(model, &corpus, Split::Test, &options, &mut Silent)
}
