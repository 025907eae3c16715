//! The models that are compared: the entry in single precision, and the presets at full size.

use qrnn::compress::{PRESETS, Preset, random_compressed_lm, random_lm};
use qrnn::model::{LmConfig, QrnnLm, Splits, WIKITEXT103_VOCAB};
use qrnn::{Result, paper};

use super::args::Args;
use crate::random_tokens::TokenSampler;

/// Tokens whose clusters the models prefer alike.
const SAMPLE: usize = 20_000;

pub struct Model {
    pub name: &'static str,
    pub lm: QrnnLm,
    /// Bytes of the weights.
    pub bytes: u64,
}

/// The entry first. All weights are random.
pub fn models(args: &Args) -> Result<Vec<Model>> {
    let text = TokenSampler::new(args.types)?.sample(SAMPLE);
    let entry = paper::entry().published;
    let (emsize, nhid) = args.model.unwrap_or((entry.emsize, entry.nhid));
    let config = LmConfig::paper(emsize, nhid).vocab(args.types);
    let lm = random_lm(&config, &text, 1)?;
    let bytes = 4 * lm.parameter_count();
    let mut models = vec![Model { name: "entry, fp32", lm, bytes }];
    for preset in PRESETS {
        let config = adaptive(preset, args, emsize, nhid);
        let compressed = random_compressed_lm(&config, &preset.plan(&config), &text, 1)?;
        if let Some(folder) = &args.save {
            compressed.save(folder.join(preset.name))?;
        }
        let bytes = (compressed.file().storage_bits().div_ceil(8)) as u64;
        models.push(Model { name: preset.name, lm: compressed.into_model(), bytes });
    }
    Ok(models)
}

/// The model of a preset, or a smaller one of its proportions.
fn adaptive(preset: Preset, args: &Args, emsize: usize, nhid: usize) -> LmConfig {
    let whole = preset.config();
    let Some(widths) = &whole.widths else { return whole };
    let narrower = |width: &usize| (width * emsize / whole.emsize).max(1);
    let widths: Vec<usize> = widths.iter().map(narrower).collect();
    let config = whole.clone().emsize(emsize).nhid(nhid).vocab(args.types).widths(widths);
    match args.types < WIKITEXT103_VOCAB {
        true => config.splits(Splits::At(vec![args.types / 8, args.types / 2])),
        false => config,
    }
}
