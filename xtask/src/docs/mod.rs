//! Tables in Markdown files, written from stored JSON.
//!
//! A table stands between `<!-- table: NAME -->` and `<!-- end -->`, each on a line. To add one, write a
//! function from JSON to its lines, and a line in [`TABLES`].

mod bench;
mod results;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    /// The pattern of the JSON files that it is made from: those in the last folder that has any.
    sources: &'static str,
    /// Whether the table stays as it is while there are no such files.
    optional: bool,
    /// From the texts of these files, sorted by name, to the lines of the table.
    markdown: fn(&[String]) -> serde_json::Result<String>,
}

const TABLES: &[Table] = &[
    Table {
        file: "README.md",
        name: "results",
        sources: "docs/results.json",
        optional: false,
        markdown: results::table,
    },
    bench("README.md", "corpus", "crates/qrnn-bench/runs/*/corpus*.json", bench::corpus),
    bench("README.md", "steps", "crates/qrnn-bench/runs/*/step*.json", bench::steps),
    bench(
        "README.md",
        "evaluations",
        "crates/qrnn-bench/runs/*/evaluate*.json",
        bench::evaluations,
    ),
    bench("README.md", "pooling", "crates/qrnn-bench/runs/*/pool*.json", bench::pooling),
    bench("docs/profile.md", "stages", "crates/qrnn-bench/runs/*/step*.json", bench::stages),
    bench("docs/profile.md", "pooling", "crates/qrnn-bench/runs/*/pool*.json", bench::pooling),
];

/// A table of measurements, which need a quiet machine.
const fn bench(
    file: &'static str,
    name: &'static str,
    sources: &'static str,
    markdown: fn(&[String]) -> serde_json::Result<String>,
) -> Table {
    Table { file, name, sources, optional: true, markdown }
}

impl Docs {
    pub fn run(self) -> Result<ExitCode> {
        let root = workspace::root();
        let mut files: Vec<&str> = TABLES.iter().map(|table| table.file).collect();
        files.dedup();
        for file in files {
            let path = root.join(file);
            let mut text = fs_err::read_to_string(&path)?;
            for table in TABLES.iter().filter(|table| table.file == file) {
                let Some(lines) = table.lines(&root)? else { continue };
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
        Ok(ExitCode::SUCCESS)
    }
}

impl Table {
    /// `None` where an optional table has no sources.
    fn lines(&self, root: &Path) -> Result<Option<String>> {
        let pattern = root.join(self.sources);
        let paths = glob::glob(&pattern.to_string_lossy()).map_err(|error| {
            Error::machine(
                format!("{}: {error}", self.sources),
                "correct it in xtask/src/docs/mod.rs",
            )
        })?;
        let mut paths: Vec<PathBuf> = paths.flatten().collect();
        if let Some(last) = paths.last().and_then(|path| path.parent()).map(Path::to_owned) {
            paths.retain(|path| path.starts_with(&last));
        } else if self.optional {
            return Ok(None);
        }
        let texts = paths.iter().map(fs_err::read_to_string).collect::<Result<Vec<_>, _>>()?;
        let lines = if texts.is_empty() {
            Err("there is none".into())
        } else {
            (self.markdown)(&texts).map_err(|error| error.to_string())
        };
        lines.map(Some).map_err(|problem| {
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
        let table = Table { sources: "runs/*/a.json", ..TABLES[0] };
        let error = table.lines(folder.path()).unwrap_err().to_string();
        assert!(error.contains("runs/*/a.json") && error.contains("there is none"), "{error}");
        for run in ["1", "2"] {
            let run = folder.path().join("runs").join(run);
            fs_err::create_dir_all(&run).unwrap();
            fs_err::write(run.join("a.json"), "{}").unwrap();
        }
        let error = table.lines(folder.path()).unwrap_err().to_string();
        assert!(error.contains("missing field"), "{error}");
        let counted = Table { markdown: |texts| Ok(format!("{} files\n", texts.len())), ..table };
        // Those of the last folder.
        assert_eq!(counted.lines(folder.path()).unwrap().unwrap(), "1 files\n");
        let none = Table { sources: "runs/*/b.json", optional: true, ..counted };
        assert_eq!(none.lines(folder.path()).unwrap(), None);
    }
}
