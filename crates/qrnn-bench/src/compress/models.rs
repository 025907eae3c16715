//! The models that are compared: the entry in single precision, and the presets at full size.

use qrnn::compress::{PRESETS, random_compressed_lm, random_lm};
use qrnn::model::{LmConfig, QrnnLm, Splits};
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
    let config = LmConfig::paper(entry.emsize, entry.nhid).vocab(args.types);
    let lm = random_lm(&config, &text, 1)?;
    let bytes = 4 * lm.parameter_count();
    let mut models = vec![Model { name: "entry, fp32", lm, bytes }];
    for preset in PRESETS {
        let mut config = preset.config().vocab(args.types);
        if let Splits::At(borders) = &config.splits
            && borders.iter().any(|border| *border >= args.types)
        {
            // A small vocabulary, for tests.
            config = config.splits(Splits::At(vec![args.types / 8, args.types / 2]));
        }
        let compressed = random_compressed_lm(&config, &preset.plan(&config), &text, 1)?;
        let bytes = (compressed.file().storage_bits().div_ceil(8)) as u64;
        models.push(Model { name: preset.name, lm: compressed.into_model(), bytes });
    }
    Ok(models)
}
