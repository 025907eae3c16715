//! Runs a compression and measures its stages.

use std::path::{Path, PathBuf};

use super::results::CompressionResults;
use super::stage::Stage;
use crate::compress::{CompressedLm, Gradual, Plan, pruned};
use crate::data::{Corpus, Split};
use crate::evaluate::neural_cache::{CacheSearch, NeuralCache, evaluate_split_with};
use crate::evaluate::{EvalOptions, Evaluation};
use crate::files::run_folder::WEIGHTS;
use crate::interrupt::Interrupt;
use crate::model::QrnnLm;
use crate::paper::experiment::describe_corpus;
use crate::paper::operation_counts::{ModelSize, OpCounter, OpTable};
use crate::progress::Progress;
use crate::train::{Compressor, Recipe};
use crate::{Error, Result};

/// Compresses a model, in one shot or with further training, and measures each stage on the validation and test texts.
///
/// ```no_run
/// # use qrnn::prelude::*;
/// # fn main() -> qrnn::Result<()> {
/// # let corpus = Corpus::synthetic();
/// # let mut model = QrnnLm::new(&LmConfig::paper(40, 160), &corpus, Device::Cpu)?;
/// let plan = Plan::new().zeros("rnns", 0.6).zeros("encoder", 0.35).activation_bits(8);
/// let study = CompressionStudy::one_shot(plan).folder("runs/small");
/// println!("{}", study.run(&mut model, &corpus)?);
/// # Ok(())
/// # }
/// ```
pub struct CompressionStudy {
    gradual: Gradual,
    /// `None` to train nothing.
    recipe: Option<Recipe>,
    pub(crate) folder: Option<PathBuf>,
    resume: bool,
    overwrite: bool,
    /// Tokens of the neural cache; `None` without one.
    cache: Option<usize>,
    interrupt: Interrupt,
}

impl CompressionStudy {
    /// Prunes and rounds without training.
    pub fn one_shot(plan: Plan) -> Self {
        Self {
            gradual: Gradual::new(plan),
            recipe: None,
            folder: None,
            resume: false,
            overwrite: false,
            cache: None,
            interrupt: Interrupt::default(),
        }
    }

    /// Prunes and rounds during further training.
    pub fn trained(gradual: Gradual, recipe: Recipe) -> Self {
        Self { recipe: Some(recipe), ..Self::one_shot(gradual.plan.clone()) }.gradual(gradual)
    }

    fn gradual(mut self, gradual: Gradual) -> Self {
        self.gradual = gradual;
        self
    }

    /// Writes the compressed model.safetensors with its vocabulary.txt, and compression.json, into a folder; with
    /// training, also what [`Compressor::folder`] writes.
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().into());
        self
    }

    /// Continues training from the newest checkpoint in the folder.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Replaces an earlier model in the folder.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Adds a neural cache of this many tokens, whose λ and θ are searched on the validation text.
    pub fn cache(mut self, tokens: impl Into<Option<usize>>) -> Self {
        self.cache = tokens.into();
        self
    }

    /// Stops early on request; a training run keeps its work.
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Compresses `model`, and measures it before, pruned and compressed. With training, `model` has the exact weights
    /// of the last step afterwards.
    ///
    /// # Errors
    /// As [`CompressedLm::one_shot`] and [`Compressor::fit_with`]; [`Error::Busy`] if the folder holds a model.
    pub fn run_with(
        &self,
        model: &mut QrnnLm,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<CompressionResults> {
        // Refuse what cannot work before the first evaluation.
        self.gradual.check()?;
        self.gradual.plan.of_model(model)?;
        if let Some(size) = self.cache {
            NeuralCache::new(size, 0.0, 0.0)?;
        }
        if self.recipe.is_none() {
            self.check_folder()?;
        }
        let results = self.stages(model, corpus, progress)?;
        // Training may have replaced the model of an earlier call, which was interrupted or has another cache.
        let is_started = self.recipe.is_some() && !results.stages.is_empty();
        if let (Some(folder), true) = (&self.folder, is_started || results.file_bytes > 0) {
            results.write(folder)?;
        }
        Ok(results)
    }

    fn stages(
        &self,
        model: &mut QrnnLm,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<CompressionResults> {
        let config = model.config().clone();
        // Stages are compared, whatever the precision of training.
        let precision = model.precision();
        model.set_precision(precision.exact());
        let mut stages = vec![];
        let dense = OpCounter::rules().count(&config)?;
        if !self.measure(Stage::name_of(&config), model, corpus, &dense, progress, &mut stages)? {
            return Ok(self.interrupted(corpus, stages));
        }
        let compressed = match &self.recipe {
            None => Some(CompressedLm::one_shot(model, corpus, &self.gradual.plan)?),
            Some(recipe) => {
                let mut compressor = Compressor::gradual(self.gradual.clone(), recipe.clone())
                    .resume(self.resume)
                    .overwrite(self.overwrite)
                    .interrupt(self.interrupt.clone());
                if let Some(folder) = &self.folder {
                    compressor = compressor.folder(folder);
                }
                model.set_precision(precision);
                let (run, compressed) = compressor.fit_with(model, corpus, progress)?;
                model.set_precision(precision.exact());
                compressed.filter(|_| !run.interrupted)
            }
        };
        let Some(compressed) = compressed else { return Ok(self.interrupted(corpus, stages)) };
        let counter = OpCounter::rules();
        if self.gradual.plan.prunes() {
            let size = ModelSize::pruned(&config, &self.gradual.plan)?;
            let table = counter.count_size(&config, &size)?;
            let small = match &self.recipe {
                None => Some(pruned(model, &self.gradual.plan)?),
                Some(_) => None,
            };
            let small = small.as_ref().unwrap_or(model);
            if !self.measure("pruned", small, corpus, &table, progress, &mut stages)? {
                return Ok(self.interrupted(corpus, stages));
            }
        }
        let mut compressed = compressed;
        // That of an earlier call, if this one resumed it.
        compressed.remove_cache();
        let table = counter.count_compressed(&compressed)?;
        let small = compressed.model();
        let mut finished =
            self.measure("quantized", small, corpus, &table, progress, &mut stages)?;
        let mut cache = None;
        if let (Some(size), true) = (self.cache, finished) {
            let options = self.one_column(&compressed);
            let search =
                NeuralCache::search_with(compressed.model(), corpus, size, &options, progress)?;
            finished = !search.interrupted
                && self.measure_cached(&mut compressed, &search, corpus, progress, &mut stages)?;
            cache = compressed.cache()?;
        }
        if let Some(folder) = &self.folder {
            compressed.save(folder)?;
        }
        Ok(CompressionResults {
            tensors: counter.tensors(&compressed)?,
            cache,
            file_bytes: compressed.file().bytes(),
            counted_bits: compressed.file().storage_bits() as u64,
            interrupted: !finished,
            ..self.interrupted(corpus, stages)
        })
    }

    fn one_column(&self, compressed: &CompressedLm) -> EvalOptions {
        let mut options = EvalOptions::one_column(compressed.model().config().bptt);
        options.interrupt = self.interrupt.clone();
        options
    }

    /// Stores the cache that was found, and adds its stage; false if interrupted.
    fn measure_cached(
        &self,
        compressed: &mut CompressedLm,
        search: &CacheSearch,
        corpus: &Corpus,
        progress: &mut dyn Progress,
        stages: &mut Vec<Stage>,
    ) -> Result<bool> {
        compressed.set_cache(search)?;
        let Some(cache) = compressed.cache()? else { return Ok(true) };
        let table = OpCounter::rules().count_compressed(compressed)?;
        let (small, options) = (compressed.model(), self.one_column(compressed));
        let evaluated =
            evaluate_split_with(small, corpus, Split::Test, &cache, &options, progress)?;
        let Evaluation { ppl, tokens, seconds, interrupted, .. } = evaluated.evaluation;
        if !interrupted {
            stages.push(Stage::new("cached", search.valid_ppl, (ppl, tokens, seconds), &table));
        }
        Ok(!interrupted)
    }

    /// Adds a stage; false if interrupted.
    fn measure(
        &self,
        name: &str,
        model: &QrnnLm,
        corpus: &Corpus,
        table: &OpTable,
        progress: &mut dyn Progress,
        stages: &mut Vec<Stage>,
    ) -> Result<bool> {
        let stage = Stage::measure(name, model, corpus, table, &self.interrupt, progress)?;
        let is_measured = stage.is_some();
        stages.extend(stage);
        Ok(is_measured)
    }

    /// Results without a compressed model.
    fn interrupted(&self, corpus: &Corpus, stages: Vec<Stage>) -> CompressionResults {
        let name = self.folder.as_deref().and_then(Path::file_name).unwrap_or_default();
        CompressionResults {
            name: name.to_string_lossy().into_owned(),
            corpus: Some(describe_corpus(corpus)),
            stages,
            tensors: vec![],
            cache: None,
            file_bytes: 0,
            counted_bits: 0,
            interrupted: true,
        }
    }

    /// Checks that nothing in the folder would be lost.
    ///
    /// # Errors
    /// [`Error::Busy`] if the folder holds a model that would be lost.
    pub fn check_folder(&self) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        if self.overwrite || !folder.join(WEIGHTS).exists() {
            return Ok(());
        }
        Err(Error::busy(
            folder.display().to_string(),
            format!("the folder holds {WEIGHTS}, which would be lost"),
            "replace it with `.overwrite(true)`, or name another folder",
        ))
    }
}
