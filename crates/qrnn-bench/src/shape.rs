//! The shape of a model as a flag: `300-1800-split`.

use qrnn::model::{LmConfig, Splits};

#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub emsize: usize,
    pub nhid: usize,
    pub split: bool,
}

impl Shape {
    /// The first tokens of the softmax's tails inside a vocabulary of this size.
    pub fn borders(self, splits: &[usize], vocab: usize) -> Vec<usize> {
        splits.iter().copied().filter(|border| self.split && *border < vocab).collect()
    }

    pub fn config(self, borders: &[usize], vocab: usize) -> LmConfig {
        let splits = if borders.is_empty() { Splits::None } else { Splits::At(borders.to_owned()) };
        LmConfig::paper(self.emsize, self.nhid).vocab(vocab).splits(splits)
    }
}

/// Parses sizes of embedding and layers.
pub fn sizes(text: &str) -> Result<(usize, usize), String> {
    let (emsize, nhid) = text.split_once('-').ok_or("write for example 300-1800")?;
    let size = qrnn::command_line::parsers::size;
    Ok((size(emsize)?, size(nhid)?))
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || "write for example 128-256-plain or 300-1800-split".to_owned();
        let parts: Vec<&str> = text.split('-').collect();
        let &[emsize, nhid, softmax] = parts.as_slice() else { return Err(usage()) };
        let split = match softmax {
            "split" => true,
            "plain" => false,
            _ => return Err(usage()),
        };
        let size = |text: &str| qrnn::command_line::parsers::size(text).map_err(|_| usage());
        Ok(Self { emsize: size(emsize)?, nhid: size(nhid)?, split })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let softmax = if self.split { "split" } else { "plain" };
        write!(f, "{}-{}-{softmax}", self.emsize, self.nhid)
    }
}
