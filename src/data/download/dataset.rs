//! What is published, under which sums, and where.

use serde::Deserialize;

use crate::{Error, Result};

/// The file in data/ is compiled in: the mirrors and sums are data, not code.
const WIKITEXT_103: &str = include_str!("../../../data/wikitext-103.json");

/// A corpus that is published as one archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Also the name of the folder that it is unpacked to.
    pub name: String,
    /// The archive.
    pub archive: Archive,
    /// The files in the archive that make up the corpus.
    pub files: Vec<DataFile>,
    /// Addresses of the very same archive, tried in this order.
    pub mirrors: Vec<String>,
}

/// An archive as published.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Its usual file name.
    pub file: String,
    /// In lower-case hexadecimal digits, as all sums here.
    pub md5: String,
    /// Where one is known.
    pub sha256: Option<String>,
    /// No server is believed that sends more.
    pub max_bytes: u64,
}

/// A text of the corpus. Whatever is known of it must be so.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// Its name in the archive, without the folder.
    pub name: String,
    /// A name that people give it once it is unpacked.
    pub other_name: Option<String>,
    /// Unpacking stops with a refusal where there is more.
    pub max_bytes: u64,
    /// Its exact size.
    pub bytes: Option<u64>,
    /// Its SHA-256.
    pub sha256: Option<String>,
    /// Its SHA-1.
    pub sha1: Option<String>,
    /// Its lines.
    pub lines: Option<u64>,
    /// Its words, and one `<eos>` a line.
    pub tokens: Option<u64>,
}

impl Dataset {
    /// The dataset of this name; so far there is `wikitext-103`.
    ///
    /// # Errors
    /// [`Error::Usage`] for any other name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "wikitext-103" => serde_json::from_str(WIKITEXT_103).map_err(|error| {
                Error::bad_file("data/wikitext-103.json", error.to_string(), "mend it and rebuild")
            }),
            _ => Err(Error::usage(
                name,
                "there is no dataset of this name to fetch",
                "say wikitext-103",
            )),
        }
    }

    /// How the archive is brought here without this program.
    pub(super) fn by_hand(&self, folder: &std::path::Path) -> String {
        let from = self.mirrors.first().map(|url| format!(" from {url}")).unwrap_or_default();
        format!(
            "download {file}{from} with a browser, put it into {}, and run the command again: it \
             is checked and unpacked from there",
            folder.display(),
            file = self.archive.file,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_file_says_what_is_published() {
        let dataset = Dataset::named("wikitext-103").unwrap();
        assert_eq!(dataset.archive.md5, "9ddaacaf6af0710eda8c456decff7832");
        assert!(dataset.mirrors[0].starts_with("https://wikitext.smerity.com/"));
        let tokens: Vec<_> = dataset.files.iter().map(|file| file.tokens).collect();
        assert_eq!(tokens, [Some(103_227_021), Some(217_646), Some(245_569)]);
        for file in &dataset.files {
            let sums = [(&file.sha1, 40), (&file.sha256, 64)];
            assert!(sums.iter().any(|(sum, _)| sum.is_some()), "{}", file.name);
            for (sum, digits) in sums {
                let good = |sum: &String| sum.len() == digits && sum.bytes().all(hexadecimal);
                assert!(sum.as_ref().is_none_or(good), "{}", file.name);
            }
        }
    }

    fn hexadecimal(byte: u8) -> bool {
        matches!(byte, b'0'..=b'9' | b'a'..=b'f')
    }

    #[test]
    fn another_name_is_refused() {
        assert!(Dataset::named("wikitext-2").unwrap_err().to_string().contains("wikitext-103"));
    }
}
