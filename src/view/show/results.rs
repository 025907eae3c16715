//! Rich output of each result.

use super::{Show, WIDTH};
use crate::data::{Corpus, Split};
use crate::evaluate::Evaluation;
use crate::format::{NOTHING, duration, perplexity, perplexity_of, thousands};
use crate::generate::Generated;
use crate::model::{Gates, LmConfig, QrnnLm};
use crate::notebook::MimeBundle;
use crate::paper;
use crate::paper::operation_counts::{OpTable, comparison_html, comparison_text, count_ops};
use crate::paper::results::{Measured, OpTables, ReproduceResults};
use crate::train::{Recipe, TrainingRun};
use crate::view::html::escape;
use crate::view::html::{Table, heading, remark};
use crate::view::plot::{self, Plot};

/// Number of tokens in the text sample of a corpus.
const SAMPLE: usize = 40;

macro_rules! impl_evcxr_display {
    ($($shown:ty),+) => {$(
        impl $shown {
            /// Called by evcxr to display the value.
            #[doc(hidden)]
            pub fn evcxr_display(&self) {
                self.bundle().print();
            }
        }
    )+};
}

impl_evcxr_display!(Corpus, LmConfig, QrnnLm, Gates, Recipe, TrainingRun, Evaluation, Generated);
impl_evcxr_display!(OpTable, OpTables, ReproduceResults, Plot);

impl Show for Corpus {
    /// Tokens of each split with unigram and best possible perplexity, and the start of the text.
    fn bundle(&self) -> MimeBundle {
        let mut table = Table::new(&[self.name(), "tokens", "unigram ppl", "best possible ppl"]);
        for split in Split::ALL {
            let best = self.best_perplexity(split).map_or_else(|| NOTHING.into(), perplexity);
            let unigram = perplexity(self.unigram_perplexity(split));
            let tokens = thousands(self.tokens(split).len() as u64);
            table.row(&[split.to_string(), tokens, unigram, best]);
        }
        let tokens = self.tokens(Split::Train).iter().take(SAMPLE);
        let sample: Vec<&str> = tokens.map(|&id| self.vocab().word(id)).collect();
        let vocabulary = thousands(self.vocab().len() as u64);
        let note =
            format!("Vocabulary of {vocabulary} words. The text begins: {} …", sample.join(" "));
        MimeBundle::html(table.html() + &remark(&note), format!("{self}\n{note}"))
    }
}

impl Show for LmConfig {
    fn bundle(&self) -> MimeBundle {
        let text = |number: f64| number.to_string();
        let parameters = thousands(count_ops(self).parameters);
        let facts = [
            ("vocabulary", thousands(self.vocab as u64)),
            ("emsize", self.emsize.to_string()),
            ("nhid", self.nhid.to_string()),
            ("nlayers", self.layers.to_string()),
            ("bptt", self.bptt.to_string()),
            (
                "dropouti / dropouth / dropout",
                [self.input_dropout, self.hidden_dropout, self.output_dropout]
                    .map(text)
                    .join(" / "),
            ),
            (
                "dropoute / wdrop / zoneout",
                [self.embedding_dropout, self.weight_drop, self.zoneout].map(text).join(" / "),
            ),
            ("splits", self.splits.to_string()),
            ("initial embedding range ±", text(self.init_range)),
            ("parameters", parameters),
        ];
        name_value_bundle("model", facts)
    }
}

impl Show for Recipe {
    fn bundle(&self) -> MimeBundle {
        let when: Vec<String> = self.when.iter().map(usize::to_string).collect();
        let mut facts = vec![
            ("optimizer", format!("{:?}", self.optimizer).to_lowercase()),
            ("lr", format!("{:e}, ÷ 10 after epoch {}", self.lr, when.join(", "))),
            ("bptt", self.bptt.to_string()),
            ("batch", self.batch.to_string()),
            ("epochs", self.epochs.to_string()),
            ("clip", self.clip.to_string()),
            ("alpha / beta", format!("{} / {}", self.alpha, self.beta)),
            ("wdecay", self.wdecay.to_string()),
            ("seed", self.seed.to_string()),
        ];
        facts.extend(self.steps.map(|steps| ("steps", format!("at most {steps}"))));
        name_value_bundle("recipe", facts)
    }
}

fn name_value_bundle<'a>(
    title: &str,
    pairs: impl IntoIterator<Item = (&'a str, String)>,
) -> MimeBundle {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let lines: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    MimeBundle::html(Table::name_value(pairs).html(), format!("{title}\n{}", lines.join("\n")))
}

impl Show for QrnnLm {
    /// The parameters with their shapes, named as in awd-lstm-lm.
    fn bundle(&self) -> MimeBundle {
        let mut table = Table::new(&["tensor", "shape", "parameters"]);
        let mut text = String::new();
        for (name, tensor) in self.parameters() {
            let shape: Vec<String> = tensor.size().iter().map(i64::to_string).collect();
            let (shape, elements) = (shape.join(" × "), thousands(tensor.numel() as u64));
            text += &format!("{name:<24} {shape:>16} {elements:>14}\n");
            table.row(&[name, shape, elements]);
        }
        let total = thousands(self.parameter_count());
        table.strong_row(&["total".into(), String::new(), total.clone()]);
        let (kind, device) = self.options();
        let note =
            format!("{kind:?} on {device:?}; the softmax shares the weight of the embedding");
        MimeBundle::html(table.html() + &remark(&note), format!("{text}total {total}; {note}"))
    }
}

impl Show for Gates {
    /// A heat map of the forget gates.
    fn bundle(&self) -> MimeBundle {
        plot::forget_gates(self).bundle()
    }
}

impl Show for TrainingRun {
    /// One row per epoch with the best in bold, the test perplexity, and the speed.
    fn bundle(&self) -> MimeBundle {
        let mut table = Table::new(&["epoch", "train loss", "valid loss", "valid ppl", "time"]);
        let best = self.epochs.iter().map(|epoch| epoch.valid_loss).fold(f64::INFINITY, f64::min);
        for epoch in &self.epochs {
            let cells = [
                epoch.epoch.to_string(),
                format!("{:.4}", epoch.train_loss),
                format!("{:.4}", epoch.valid_loss),
                perplexity_of(epoch.valid_loss),
                duration(epoch.seconds),
            ];
            if epoch.valid_loss == best {
                table.strong_row(&cells);
            } else {
                table.row(&cells);
            }
        }
        let outcome = match self.test_loss {
            _ if self.interrupted => format!(
                "Interrupted after {} steps; the model keeps what it has learned.",
                thousands(self.losses.len() as u64)
            ),
            Some(loss) => format!("Test perplexity {}.", perplexity_of(loss)),
            None => "Not tested.".into(),
        };
        let note = format!(
            "{} parameters, {} tokens in {}, {} tokens/s.",
            thousands(self.parameters),
            thousands(self.tokens),
            duration(self.seconds),
            thousands(self.tokens_per_second.max(0.0) as u64)
        );
        MimeBundle::html(table.html() + &heading(&outcome) + &remark(&note), self.to_string())
    }
}

impl Show for Evaluation {
    fn bundle(&self) -> MimeBundle {
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        let facts = [
            ("perplexity", perplexity_of(self.loss)),
            ("loss (nats per token)", format!("{:.4}", self.loss)),
            ("loss as awd-lstm-lm averages it", format!("{:.4}", self.reference_loss)),
            ("predicted tokens", format!("{}{interrupted}", thousands(self.tokens as u64))),
            ("time", duration(self.seconds)),
        ];
        MimeBundle::html(Table::name_value(facts).html(), self.to_string())
    }
}

impl Show for Generated {
    fn bundle(&self) -> MimeBundle {
        let html = format!("<pre style=\"white-space:pre-wrap\">{}</pre>", escape(&self.text));
        MimeBundle::html(html, self.to_string())
    }
}

impl Show for OpTable {
    fn bundle(&self) -> MimeBundle {
        let mut table = Table::new(&["op", "params (MBytes)", "mults (M)", "adds (M)", "MFLOPS"]);
        for row in &self.rows {
            table.row(&op_cells(row));
        }
        table.strong_row(&op_cells(&self.total));
        let html = table.html() + &remark(&self.summary());
        MimeBundle::html(html, self.to_string())
    }
}

impl Show for OpTables {
    /// Counted and published numbers side by side.
    fn bundle(&self) -> MimeBundle {
        MimeBundle::html(comparison_html(&self.counted), comparison_text(&self.counted))
    }
}

fn op_cells(row: &crate::paper::operation_counts::OpRow) -> [String; 5] {
    let [params, mults, adds, mflops] = row.figures().map(|figure| format!("{figure:.3}"));
    [row.op.clone(), params, mults, adds, mflops]
}

const MEASURED: [&str; 6] = ["emsize/nhid", "bptt", "params", "valid ppl", "test ppl", "time"];

impl Show for ReproduceResults {
    /// Published and measured numbers in separate columns.
    fn bundle(&self) -> MimeBundle {
        let note =
            format!("Measured: {}, {}; {}.", self.scale.name, self.corpus.name, self.scale.note);
        let mut html = String::new();
        if !self.rows.is_empty() {
            let headings = ["row", "published params", "published test ppl"];
            let mut table = Table::new(&[&headings[..], &MEASURED].concat());
            for row in &self.rows {
                let published = &row.published;
                let mut cells = vec![
                    row.name.clone(),
                    thousands(published.parameters),
                    perplexity(published.test_ppl),
                ];
                cells.extend(measured_cells(row.measured.as_ref()));
                if row.name == paper::ENTRY {
                    table.strong_row(&cells);
                } else {
                    table.row(&cells);
                }
            }
            html += &(heading("Experiment table") + &table.html());
        }
        if !self.lengths.is_empty() {
            let mut table =
                Table::new(&[&["published bptt", "published ppl"][..], &MEASURED].concat());
            for length in &self.lengths {
                let published = &length.published;
                let mut cells = vec![published.bptt.to_string(), format!("{:.1}", published.ppl)];
                cells.extend(measured_cells(length.measured.as_ref()));
                table.row(&cells);
            }
            html += &(heading("Sequence length") + &table.html());
        }
        if self.interrupted {
            html += &heading("Interrupted; unfinished rows are missing.");
        }
        let best = self.corpus.best_test_ppl.map(perplexity);
        let best = best.map_or_else(String::new, |best| format!(", best possible {best}"));
        let unigram = perplexity(self.corpus.unigram_test_ppl);
        let note = format!("{note} Test perplexity: unigram model {unigram}{best}.");
        MimeBundle::html(html + &remark(&note), self.to_text())
    }
}

fn measured_cells(measured: Option<&Measured>) -> [String; 6] {
    let Some(run) = measured else { return [(); 6].map(|()| NOTHING.into()) };
    let note = if run.interrupted { " (interrupted)" } else { "" };
    [
        format!("{}/{}", run.emsize, run.nhid),
        run.bptt.to_string(),
        thousands(run.parameters),
        perplexity_of(run.valid_loss),
        perplexity_of(run.test_loss) + note,
        duration(run.seconds),
    ]
}

impl Show for Plot {
    fn bundle(&self) -> MimeBundle {
        let text = format!("plot: {}", self.name());
        match (self.svg_of_width(WIDTH), self.png()) {
            (Ok(svg), Ok(png)) => MimeBundle::svg(svg, text).with_png(&png),
            (Err(error), _) | (_, Err(error)) => MimeBundle::text(error.to_string()),
        }
    }
}
