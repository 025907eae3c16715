//! Published datasets: files, checksums and mirrors.

use serde::Deserialize;

use crate::{Error, Result};

/// The embedded file data/wikitext-103.json.
const WIKITEXT_103: &str = include_str!("../../../data/wikitext-103.json");

/// A corpus published as one archive, and perhaps as Parquet files on Hugging Face.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// The name of the dataset, and of the folder that it is unpacked to.
    pub name: String,
    /// The archive.
    pub archive: Archive,
    /// The files of the corpus in the archive.
    pub files: Vec<DataFile>,
    /// The same texts as Parquet files, tried before the archive.
    pub hugging_face: Option<HubFolder>,
    /// URLs of the archive, tried in this order.
    pub mirrors: Vec<String>,
}

/// A published archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The file name.
    pub file: String,
    /// MD5, like all checksums here in lower-case hexadecimal.
    pub md5: String,
    /// SHA-256, if known.
    pub sha256: Option<String>,
    /// A download of more bytes is aborted.
    pub max_bytes: u64,
}

/// A folder of Parquet files in a dataset repository of Hugging Face.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubFolder {
    /// Owner and name of the repository.
    pub repository: String,
    /// The branch, tag or commit.
    pub revision: String,
    /// The folder in the repository.
    pub folder: String,
    /// A download of more bytes is aborted. Sums of the files are not published; those of the texts are.
    pub max_bytes: u64,
}

/// A text of the corpus. Every specified property is verified.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// The file name in the archive, without the folder.
    pub name: String,
    /// An alternative file name, used after unpacking.
    pub other_name: Option<String>,
    /// Unpacking fails if the file is larger.
    pub max_bytes: u64,
    /// Exact size in bytes.
    pub bytes: Option<u64>,
    /// SHA-256.
    pub sha256: Option<String>,
    /// SHA-1.
    pub sha1: Option<String>,
    /// Number of lines.
    pub lines: Option<u64>,
    /// Number of tokens: words, and one `<eos>` per line.
    pub tokens: Option<u64>,
    /// The Parquet files that hold the text, in this order.
    #[serde(default)]
    pub parquet: Vec<String>,
}

impl Dataset {
    /// The dataset with this name. The only one is `wikitext-103`.
    ///
    /// # Errors
    /// [`Error::Config`] for any other name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "wikitext-103" => serde_json::from_str(WIKITEXT_103).map_err(|error| {
                Error::bad_file("data/wikitext-103.json", error.to_string(), "fix it and rebuild")
            }),
            _ => Err(Error::config(
                "dataset",
                name,
                "this dataset is not available for download",
                "use wikitext-103",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_holds_the_published_properties() {
        let dataset = Dataset::named("wikitext-103").unwrap();
        assert_eq!(dataset.archive.md5, "9ddaacaf6af0710eda8c456decff7832");
        let tables: Vec<_> = dataset.files.iter().flat_map(|file| &file.parquet).collect();
        let names = ["train-00000-of-00002", "train-00001-of-00002"];
        let names = names.into_iter().chain(["validation-00000-of-00001", "test-00000-of-00001"]);
        assert!(
            tables
                .into_iter()
                .eq(names.map(|name| format!("{name}.parquet")).collect::<Vec<_>>().iter())
        );
        assert_eq!(dataset.hugging_face.unwrap().repository, "Salesforce/wikitext");
        assert!(dataset.mirrors[0].starts_with("https://wikitext.smerity.com/"));
        let tokens: Vec<_> = dataset.files.iter().map(|file| file.tokens).collect();
        assert_eq!(tokens, [Some(103_227_021), Some(217_646), Some(245_569)]);
        for file in &dataset.files {
            let sums = [(&file.sha1, 40), (&file.sha256, 64)];
            assert!(sums.iter().any(|(sum, _)| sum.is_some()), "{}", file.name);
            for (sum, digits) in sums {
                let valid = |sum: &String| sum.len() == digits && sum.bytes().all(hexadecimal);
                assert!(sum.as_ref().is_none_or(valid), "{}", file.name);
            }
        }
    }

    fn hexadecimal(byte: u8) -> bool {
        matches!(byte, b'0'..=b'9' | b'a'..=b'f')
    }

    #[test]
    fn an_unknown_name_is_refused() {
        assert!(Dataset::named("wikitext-2").unwrap_err().to_string().contains("wikitext-103"));
    }
}
