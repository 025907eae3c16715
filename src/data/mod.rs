//! Text as token ids: data folders, the embedded synthetic language, batches, downloads.
//!
//! - [`Vocab`]: words and their ids (`vocab`)
//! - text to ids (`reader`, over whole words in `chunks`, numbered by `word_table`), data folders (`folder`)
//! - a text in the ids of another vocabulary (`mapped`)
//! - files that are not plain text (`format`)
//! - ids stored in a file (`token_cache`), verified (`checksum`) and memory-mapped (`ids`)
//! - the embedded language (`synthetic`)
//! - the perplexity of a unigram model (`unigram`)
//! - a stream of ids as batches (`Batches`)
//! - published corpora from the network ([`download`])

mod batches;
mod checksum;
mod chunks;
mod corpus;
pub mod download;
mod folder;
mod format;
mod ids;
mod mapped;
mod reader;
mod split;
mod synthetic;
mod threads;
mod token_cache;
mod unigram;
mod vocab;
mod word_table;

pub(crate) use batches::Batches;
pub use corpus::{Corpus, Origin};
pub(crate) use mapped::Mapped;
pub use split::Split;
pub use synthetic::SyntheticConfig;
pub use vocab::Vocab;
