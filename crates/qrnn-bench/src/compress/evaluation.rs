//! Evaluation of a text in one column.

use qrnn::Result;
use qrnn::data::{Corpus, IdOrder, Split};
use qrnn::evaluate::{EvalOptions, evaluate_split};
use qrnn::progress::Silent;
use serde_json::json;

use super::args::Args;
use super::models::Model;
use crate::random_tokens::TokenSampler;
use crate::report::Report;
use crate::statistics::median;
use crate::text;

pub fn run(args: &Args, models: &[Model], report: &mut Report) -> Result<()> {
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
            let corpus = corpus.in_order(model.lm.ids().unwrap_or(IdOrder::FirstAppearance));
            let options = EvalOptions::one_column(model.lm.config().bptt);
            let result = evaluate_split(&model.lm, &corpus, Split::Test, &options, &mut Silent)?;
            (losses[i], tokens) = (result.loss, result.tokens);
            if run >= warm_up {
                seconds[i].push(result.seconds);
            }
        }
    }
    let seconds: Vec<f64> = seconds.into_iter().map(median).collect();
    report.print(format!("evaluation of {tokens} tokens of {name}, one column"));
    for ((model, time), loss) in models.iter().zip(&seconds).zip(losses) {
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
    Ok(())
}
