//! Flags of the neural cache.

use clap::Args as ClapArgs;
use qrnn::command_line::parsers;
use qrnn::compress::stored_cache_of;
use qrnn::evaluate::neural_cache::{MAX_SIZE, NeuralCache};
use qrnn::model::SavedModel;
use qrnn::{Error, Result};

/// Value of `--cache`.
#[derive(Debug, Clone, Copy)]
enum Size {
    None,
    Tokens(usize),
}

impl Size {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let size = parsers::in_range(1..=MAX_SIZE as u64)(text).map(Self::Tokens);
        size.map_err(|problem| format!("{problem}, or none"))
    }
}

#[derive(Debug, ClapArgs)]
pub struct CacheFlags {
    /// Add a neural cache of the last N tokens (Grave et al. 2016), or none. Its λ and θ are searched on the
    /// validation text unless both are given
    #[arg(long, value_name = "N", value_parser = Size::parse)]
    cache: Option<Size>,
    /// Weight λ of the cache's prediction, at least 0 and less than 1; 0 is the model alone
    #[arg(long, value_name = "LAMBDA", value_parser = parsers::decimal)]
    #[arg(requires = "cache", requires = "cache_theta")]
    cache_lambda: Option<f64>,
    /// Factor θ of the inner products of hidden states, at least 0
    #[arg(long, value_name = "THETA", value_parser = parsers::decimal)]
    #[arg(requires = "cache", requires = "cache_lambda")]
    cache_theta: Option<f64>,
}

/// What the flags ask for.
#[derive(Debug, Clone, Copy)]
pub enum CacheChoice {
    /// The model alone.
    None,
    /// A cache of this size, whose λ and θ are to be searched.
    Search(usize),
    /// This cache.
    Given(NeuralCache),
}

impl CacheFlags {
    /// What the flags ask for, or the cache that a compressed model stores if they ask for nothing.
    ///
    /// # Errors
    /// As [`CacheFlags::choice`].
    pub fn choice_for(&self, saved: &SavedModel) -> Result<CacheChoice> {
        match (self.cache, stored_cache_of(saved)?) {
            (None, Some(cache)) => Ok(CacheChoice::Given(cache)),
            (Some(Size::Tokens(size)), Some(cache))
                if size == cache.size && self.cache_lambda.is_none() =>
            {
                Ok(CacheChoice::Given(cache))
            }
            _ => self.choice(),
        }
    }

    /// # Errors
    /// [`Error::Config`] if a value is out of its range, or a setting is given for no cache.
    pub fn choice(&self) -> Result<CacheChoice> {
        match (self.cache, self.cache_lambda.zip(self.cache_theta)) {
            (None | Some(Size::None), None) => Ok(CacheChoice::None),
            (Some(Size::Tokens(size)), None) => Ok(CacheChoice::Search(size)),
            (Some(Size::Tokens(size)), Some((lambda, theta))) => {
                Ok(CacheChoice::Given(NeuralCache::new(size, lambda, theta)?))
            }
            (None | Some(Size::None), Some(_)) => Err(Error::config(
                "--cache",
                "none",
                "--cache-lambda and --cache-theta are settings of a cache",
                "give the size of the cache, for example --cache 2000, or leave them out",
            )),
        }
    }
}
