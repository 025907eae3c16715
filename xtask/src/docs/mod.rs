//! Tables in Markdown files, written from stored JSON.
//!
//! A table stands between `<!-- table: NAME -->` and `<!-- end -->`, each on a line. To add one, write a
//! function from JSON to its lines, and a line in [`TABLES`].

mod bench;
mod compression;
mod group;
mod results;

use std::path::Path;

use crate::error::{Error, Result};
use crate::{generated, workspace};

/// Write the tables of README and docs from the JSON that is stored in the repository
#[derive(Debug, clap::Args)]
pub struct Docs {
    /// Write nothing; fail where a table is stale
    #[arg(long)]
    pub check: bool,
}

struct Table {
    /// The Markdown file that it is in.
    file: &'static str,
    name: &'static str,
    /// The pattern of the files that it is made from. One with a `*` may match none.
    sources: &'static str,
    /// From the texts of these files, sorted by name, to the lines of the table.
    markdown: fn(&[String]) -> serde_json::Result<String>,
}

/// The results of the experiment at medium scale.
const MEDIUM: &str = "docs/results/medium/results.json";

const TABLES: &[Table] = &[
    Table { file: "README.md", name: "results", sources: MEDIUM, markdown: results::table },
    Table {
        file: "README.md",
        name: "compressed",
        sources: "docs/results/compression/wikitext-mini/[es]*.json",
        markdown: compression::stages,
    },
    of_runs("README.md", "corpus", bench::corpus),
    of_runs("README.md", "steps", bench::steps),
    of_runs("README.md", "evaluations", bench::evaluations),
    Table {
        file: "docs/experiments/README.md",
        name: "differences",
        sources: MEDIUM,
        markdown: results::differences,
    },
    Table {
        file: "docs/compression/README.md",
        name: "stages",
        sources: "docs/results/compression/*/[es]*.json",
        markdown: compression::stages,
    },
    Table {
        file: "docs/compression/README.md",
        name: "costs",
        sources: "docs/results/compression/*/[dez]*.json",
        markdown: compression::costs,
    },
    of_runs("docs/compression/README.md", "products", compression::products),
    of_runs("docs/compression/README.md", "generation", compression::generation),
    of_runs("docs/compression/README.md", "evaluation", compression::evaluation),
    of_runs("docs/distributed/README.md", "sums", group::sums),
    of_runs("docs/distributed/README.md", "training", group::training),
    of_runs("docs/profile.md", "stages", bench::stages),
    of_runs("docs/profile.md", "pooling", bench::pooling),
];

/// Made from a file for each machine that was quiet, or had a GPU.
const fn of_runs(
    file: &'static str,
    name: &'static str,
    markdown: fn(&[String]) -> serde_json::Result<String>,
) -> Table {
    Table { file, name, sources: "crates/qrnn-bench/runs/*.jsonl", markdown }
}

impl Docs {
    pub fn run(self) -> Result<()> {
        let root = workspace::root();
        let mut files: Vec<&str> = TABLES.iter().map(|table| table.file).collect();
        files.dedup();
        for file in files {
            let path = root.join(file);
            let mut text = fs_err::read_to_string(&path)?;
            for table in TABLES.iter().filter(|table| table.file == file) {
                let lines = table.lines(&root)?;
                text = replaced(&text, table.name, &lines).ok_or_else(|| {
                    Error::machine(
                        format!("{file} has no place for the table {0}", table.name),
                        format!(
                            "put the lines <!-- table: {0} --> and <!-- end --> there",
                            table.name
                        ),
                    )
                })?;
            }
            generated::store(&path, &text, self.check, "docs")?;
        }
        Ok(())
    }
}

impl Table {
    fn lines(&self, root: &Path) -> Result<String> {
        let pattern = root.join(self.sources);
        let paths = glob::glob(&pattern.to_string_lossy()).map_err(|error| {
            Error::machine(
                format!("{}: {error}", self.sources),
                "correct it in xtask/src/docs/mod.rs",
            )
        })?;
        let texts = paths.flatten().map(fs_err::read_to_string).collect::<Result<Vec<_>, _>>()?;
        let lines = if texts.is_empty() && !self.sources.contains('*') {
            Err("there is none".into())
        } else {
            (self.markdown)(&texts).map_err(|error| error.to_string())
        };
        lines.map_err(|problem| {
            Error::machine(
                format!("{}, from which the table {} is made: {problem}", self.sources, self.name),
                "store the JSON that the program writes, and correct the function in xtask/src/docs",
            )
        })
    }
}

/// The text with these lines between the markers of the table; `None` where it lacks them.
fn replaced(text: &str, name: &str, lines: &str) -> Option<String> {
    let begin = format!("<!-- table: {name} -->\n");
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once("<!-- end -->")?;
    Some(format!("{before}{begin}{lines}<!-- end -->{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "a\n<!-- table: t -->\nold\n<!-- end -->\nb\n<!-- table: u -->\n<!-- end -->\n";

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = replaced(TEXT, "t", "new\nlines\n").unwrap();
        assert_eq!(text, TEXT.replace("old\n", "new\nlines\n"));
        assert_eq!(replaced(&text, "t", "new\nlines\n").unwrap(), text);
        let text = replaced(TEXT, "u", "new\n").unwrap();
        assert_eq!(text, TEXT.replace("u -->\n", "u -->\nnew\n"));
    }

    #[test]
    fn a_missing_marker_is_noticed() {
        for text in ["", "<!-- table: t -->\nold\n", "<!-- table: tt -->\n<!-- end -->\n"] {
            assert_eq!(replaced(text, "t", ""), None);
        }
    }

    #[test]
    fn a_table_without_its_json_names_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let error = TABLES[0].lines(folder.path()).unwrap_err().to_string();
        assert!(error.contains(MEDIUM) && error.contains("there is none"), "{error}");
        let json = folder.path().join(MEDIUM);
        fs_err::create_dir_all(json.parent().unwrap()).unwrap();
        fs_err::write(json, "{}").unwrap();
        let error = TABLES[0].lines(folder.path()).unwrap_err().to_string();
        assert!(error.contains("missing field"), "{error}");
    }

    #[test]
    fn a_table_is_made_from_all_files_of_its_pattern() {
        let folder = tempfile::tempdir().unwrap();
        let markdown = |texts: &[String]| Ok(texts.concat());
        let table = Table { sources: "runs/*.jsonl", markdown, ..TABLES[0] };
        assert_eq!(table.lines(folder.path()).unwrap(), "");
        fs_err::create_dir(folder.path().join("runs")).unwrap();
        for name in ["b.jsonl", "a.jsonl", "c.json"] {
            fs_err::write(folder.path().join("runs").join(name), name).unwrap();
        }
        assert_eq!(table.lines(folder.path()).unwrap(), "a.jsonlb.jsonl");
    }
}
