//! Text as token ids: data folders, the embedded synthetic language, batches, downloads.
//!
//! - what a word is (`words`); [`Vocab`]: words and their token ids (`vocab`)
//! - the tokenizer (`reader`), which reads a file in `chunks` and looks words up in a `word_table`
//! - data folders (`folder`), tables of text in them (`parquet`), and detection of files that are not plain text (`format`)
//! - a text tokenized with an existing vocabulary (`mapped`)
//! - the token cache (`token_cache`), verified by `checksum` and memory-mapped (`ids`)
//! - the embedded synthetic language (`synthetic`)
//! - token ids by frequency (`id_order`)
//! - the perplexity of a unigram model (`unigram`)
//! - tokens arranged in batches (`Batches`)
//! - downloads of published corpora ([`download`])

mod batches;
mod checksum;
mod chunks;
mod corpus;
pub mod download;
mod folder;
mod format;
mod id_order;
mod ids;
mod mapped;
mod parquet;
mod reader;
mod split;
mod synthetic;
mod threads;
mod token_cache;
mod unigram;
mod vocab;
mod word_table;
mod words;

pub(crate) use batches::Batches;
pub use corpus::{Corpus, Origin};
pub use id_order::IdOrder;
pub(crate) use mapped::EncodedText;
pub use split::Split;
pub use synthetic::SyntheticConfig;
pub use vocab::Vocab;
pub(crate) use words::words;
