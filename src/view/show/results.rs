//! Rich output of each result.

use maud::{Markup, html};

use super::{Show, WIDTH};
use crate::data::{Corpus, IdOrder, Split};
use crate::evaluate::Evaluation;
use crate::evaluate::neural_cache::{CacheSearch, CachedEvaluation, NeuralCache};
use crate::format::{NOTHING, aligned, duration, percent, perplexity, perplexity_of, thousands};
use crate::generate::Generated;
use crate::model::{Gates, LmConfig, QrnnLm};
use crate::notebook::MimeBundle;
use crate::paper;
use crate::paper::operation_counts::OpTable;
use crate::paper::results::{OpTables, ReproduceResults};
use crate::train::{Recipe, TrainingRun};
use crate::view::html::{heading, name_value, operations, remark, table, table_of_rows};
use crate::view::plot::{self, Plot};
use crate::view::report::comparison::{DIFFERENCES, differences};

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
pub(super) use impl_evcxr_display;

impl_evcxr_display!(Corpus, LmConfig, QrnnLm, Gates, Recipe, TrainingRun, Evaluation, Generated);
impl_evcxr_display!(NeuralCache, CacheSearch, CachedEvaluation);
impl_evcxr_display!(OpTable, OpTables, ReproduceResults, Plot);

impl Show for Corpus {
    /// Tokens of each split with unigram and best possible perplexity, and the start of the text.
    fn bundle(&self) -> MimeBundle {
        let rows = Split::ALL.map(|split| {
            let best = self.best_perplexity(split).map_or_else(|| NOTHING.into(), perplexity);
            let unigram = perplexity(self.unigram_perplexity(split));
            let tokens = thousands(self.tokens(split).len() as u64);
            (false, [split.to_string(), tokens, unigram, best])
        });
        let table = table(&[self.name(), "tokens", "unigram ppl", "best possible ppl"], rows);
        let tokens = self.tokens(Split::Train).iter().take(SAMPLE);
        let sample: Vec<&str> = tokens.map(|&id| self.vocab().word(id)).collect();
        let vocabulary = thousands(self.vocab().len() as u64);
        let order = match self.ids() {
            IdOrder::FirstAppearance => String::new(),
            order => format!(", ids {}", order.in_words()),
        };
        let sample = sample.join(" ");
        let note = format!("Vocabulary of {vocabulary} words{order}. The text begins: {sample} …");
        MimeBundle::html(html! { (table) (remark(&note)) }, format!("{self}\n{note}"))
    }
}

impl Show for LmConfig {
    fn bundle(&self) -> MimeBundle {
        let text = |number: f64| number.to_string();
        let parameters = thousands(self.parameters());
        let mut facts = vec![
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
        if let Some(widths) = self.widths_in_words() {
            facts.push(("widths", widths));
        }
        name_value_bundle("model", &facts)
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
        name_value_bundle("recipe", &facts)
    }
}

fn name_value_bundle(title: &str, pairs: &[(&str, String)]) -> MimeBundle {
    let lines: String = pairs.iter().map(|(name, value)| format!("\n{name}: {value}")).collect();
    MimeBundle::html(name_value(pairs), format!("{title}{lines}"))
}

impl Show for QrnnLm {
    /// The parameters with their shapes, named as in awd-lstm-lm.
    fn bundle(&self) -> MimeBundle {
        let headings = ["tensor", "shape", "parameters"].map(str::to_owned);
        let mut rows = vec![headings.to_vec()];
        for (name, tensor) in self.parameters() {
            let shape: Vec<String> = tensor.size().iter().map(i64::to_string).collect();
            rows.push(vec![name, shape.join(" × "), thousands(tensor.numel() as u64)]);
        }
        let total = thousands(self.parameter_count());
        rows.push(vec!["total".into(), String::new(), total]);
        let (kind, device) = self.options();
        let note =
            format!("{kind:?} on {device:?}; the softmax shares the weight of the embedding");
        let html = html! { (table_of_rows(&rows, "total")) (remark(&note)) };
        MimeBundle::html(html, aligned(&rows) + &note)
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
        let best = self.epochs.iter().map(|epoch| epoch.valid_loss).fold(f64::INFINITY, f64::min);
        let rows = self.epochs.iter().map(|epoch| {
            let cells = [
                epoch.epoch.to_string(),
                format!("{:.4}", epoch.train_loss),
                format!("{:.4}", epoch.valid_loss),
                perplexity_of(epoch.valid_loss),
                duration(epoch.seconds),
            ];
            (epoch.valid_loss == best, cells)
        });
        let table = table(&["epoch", "train loss", "valid loss", "valid ppl", "time"], rows);
        let outcome = match self.test_loss {
            _ if self.interrupted => format!(
                "Interrupted after {} steps; the model keeps what it has learned.",
                thousands(self.losses.len() as u64)
            ),
            Some(loss) => format!("Test perplexity {}.", perplexity_of(loss)),
            None => "Not tested.".into(),
        };
        let html = html! { (table) (heading(&outcome)) (remark(&self.summary())) };
        MimeBundle::html(html, self.to_string())
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
        MimeBundle::html(name_value(&facts), self.to_string())
    }
}

impl Show for NeuralCache {
    fn bundle(&self) -> MimeBundle {
        let facts = [
            ("cache", format!("{} tokens", thousands(self.size as u64))),
            ("λ", self.lambda.to_string()),
            ("θ", self.theta.to_string()),
        ];
        MimeBundle::html(name_value(&facts), self.to_string())
    }
}

impl Show for CacheSearch {
    /// The perplexities by θ and λ, the best θ in bold.
    fn bundle(&self) -> MimeBundle {
        let rows = self.cells();
        let html = table(
            &rows[0],
            rows[1..]
                .iter()
                .zip(&self.surface)
                .map(|(cells, searched)| (searched.theta == self.cache.theta, cells)),
        );
        MimeBundle::html(html! { (html) (remark(&self.summary())) }, self.to_string())
    }
}

impl Show for CachedEvaluation {
    fn bundle(&self) -> MimeBundle {
        let evaluation = &self.evaluation;
        let interrupted = if evaluation.interrupted { ", interrupted" } else { "" };
        let facts = [
            ("perplexity with the cache", perplexity_of(evaluation.loss)),
            ("perplexity without it", perplexity_of(self.plain_loss)),
            ("reduction", percent(self.reduction())),
            ("loss (nats per token)", format!("{:.4}", evaluation.loss)),
            ("cache", self.cache.to_string()),
            ("predicted tokens", format!("{}{interrupted}", thousands(evaluation.tokens as u64))),
            ("time", duration(evaluation.seconds)),
        ];
        MimeBundle::html(name_value(&facts), self.to_string())
    }
}

impl Show for Generated {
    fn bundle(&self) -> MimeBundle {
        let html = html! { pre style="white-space:pre-wrap" { (self.text) } };
        MimeBundle::html(html, self.to_string())
    }
}

impl Show for OpTable {
    fn bundle(&self) -> MimeBundle {
        let html = html! { (table_of_rows(&self.cells(), "total")) (remark(&self.summary())) };
        MimeBundle::html(html, self.to_string())
    }
}

impl Show for OpTables {
    /// Counted and published numbers side by side.
    fn bundle(&self) -> MimeBundle {
        let html = html! { (operations(self)) (remark(&self.scores())) };
        MimeBundle::html(html, self.to_string())
    }
}

impl Show for ReproduceResults {
    /// Published and measured numbers in separate columns.
    fn bundle(&self) -> MimeBundle {
        let html = html! {
            @for (title, table) in self.comparisons() {
                (heading(&title))
                (narrow(&table.rows))
            }
            @if !self.differences.is_empty() {
                (heading("Differences between neighbours"))
                (table_of_rows(&differences(self), ""))
                (remark(DIFFERENCES))
            }
            @if let Some(missing) = self.what_is_missing() { (heading(&missing)) }
            (remark(&self.summary()))
        };
        MimeBundle::html(html, self.to_text())
    }
}

/// The columns that fit into a notebook, with the entry in bold.
fn narrow(rows: &[Vec<String>]) -> Markup {
    let wide = ["batch", "epochs", "tokens", "steps"];
    let narrow = |row: &Vec<String>| -> Vec<String> {
        let columns = row.iter().zip(&rows[0]);
        let columns = columns.filter(|(_, heading)| !wide.contains(&heading.as_str()));
        columns.map(|(cell, _)| cell.clone()).collect()
    };
    table_of_rows(&rows.iter().map(narrow).collect::<Vec<_>>(), paper::ENTRY)
}

impl Show for Plot {
    fn bundle(&self) -> MimeBundle {
        let text = format!("plot: {}", self.name());
        match self.png() {
            Ok(png) => MimeBundle::svg(self.svg_of_width(WIDTH), text).with_png(&png),
            Err(error) => MimeBundle::text(error.to_string()),
        }
    }
}
