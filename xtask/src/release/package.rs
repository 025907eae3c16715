//! What `cargo package` puts into each crate that can be published: all that it needs, nothing else.

use glob::{MatchOptions, Pattern};

use crate::error::{Error, Result};
use crate::{cargo, process, workspace};

/// Check what each package holds that can be published, then make the packages in target/package
#[derive(Debug, clap::Args)]
pub struct Package {
    /// Check alone
    #[arg(long)]
    pub list: bool,
}

/// Patterns of the paths in a package, where `*` does not cross a `/` and `**` does.
struct Contents {
    package: &'static str,
    /// Each pattern matches a file.
    required: &'static [&'static str],
    /// What may be there as well; all else is refused.
    optional: &'static [&'static str],
}

/// In every package.
const REQUIRED: [&str; 6] =
    ["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs", "build.rs"];
/// In every package: the first three come from cargo.
const OPTIONAL: [&str; 5] =
    ["Cargo.toml.orig", "Cargo.lock", ".cargo_vcs_info.json", "CHANGELOG.md", "src/**/*.rs"];

const PACKAGES: [Contents; 2] = [
    Contents {
        package: "qrnn-ops",
        required: &[
            "src/autograd/*.cpp",
            "src/cuda/*.cpp",
            "src/libtorch/*.cpp",
            "src/libtorch/*.h",
            "src/process_group/cpp/*.cpp",
            "src/process_group/cpp/*.h",
            "src/process_group/cpp/stubs/**/*.h",
            "kernels/*.cu",
            "kernels/*.cuh",
            // The shim that runs the kernels on the CPU.
            "kernels/host/*.cpp",
            "kernels/host/*.h",
        ],
        optional: &["kernels/README.md"],
    },
    Contents {
        package: "qrnn",
        required: &[
            "src/bin/reproduce/main.rs",
            "src/**/page.css",
            "data/wikitext-103.json",
            // The pictures of the README.
            "docs/results/medium/perplexity_vs_*.png",
        ],
        optional: &["THIRD-PARTY-LICENSES.md"],
    },
];

impl Package {
    pub fn run(self) -> Result<()> {
        // Those without `publish = false`.
        let packages = workspace::metadata(&workspace::root())?.packages;
        let packages = packages.into_iter().filter(|package| package.publish.is_none());
        let packages: Vec<String> = packages.map(|package| package.name.to_string()).collect();
        let mut faults = vec![];
        for name in &packages {
            let contents = PACKAGES.iter().find(|contents| contents.package == name);
            let contents = contents.ok_or_else(|| {
                Error::machine(
                    format!("what the package {name} should hold is not known"),
                    "add it to PACKAGES in xtask/src/release/package.rs, or set publish = false",
                )
            })?;
            let list = ["package", "--list", "--allow-dirty", "--offline", "--package", name];
            let files = process::output(&mut cargo::plain(list))?.replace('\\', "/");
            faults.extend(contents.faults(&files.lines().collect::<Vec<_>>()));
        }
        if !faults.is_empty() {
            let remedy = "correct `include` in the package's Cargo.toml";
            return Err(Error::failed(faults.join("\n"), remedy));
        }
        if self.list {
            return Ok(());
        }
        // All at once: a package may depend on another that no registry has yet.
        let mut package = cargo::plain(["package", "--no-verify", "--allow-dirty", "--offline"]);
        package.args(packages.iter().flat_map(|name| ["--package", name]));
        process::run(&mut package)
    }
}

impl Contents {
    /// What is wrong with a package of these files, a line each.
    fn faults(&self, files: &[&str]) -> Vec<String> {
        let required = || REQUIRED.iter().chain(self.required);
        let missing = required()
            .filter(|pattern| !files.iter().any(|file| matches(pattern, file)))
            .map(|pattern| format!("{}: no {pattern}", self.package));
        let surplus = files
            .iter()
            .filter(|file| {
                !required().chain(&OPTIONAL).chain(self.optional).any(|it| matches(it, file))
            })
            .map(|file| format!("{}: {file} does not belong there", self.package));
        missing.chain(surplus).collect()
    }
}

fn matches(pattern: &str, file: &str) -> bool {
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_with(file, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 10] = [
        "Cargo.toml",
        "Cargo.toml.orig",
        "README.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "build.rs",
        "src/lib.rs",
        "src/a/b/c.rs",
        "kernels/a.cu",
        "notes.txt",
    ];
    const CONTENTS: Contents =
        Contents { package: "made", required: &["kernels/*.cu"], optional: &["notes.txt"] };

    fn without(file: &str) -> Vec<&'static str> {
        FILES.into_iter().filter(|other| *other != file).collect()
    }

    #[test]
    fn each_required_file_is_missed_and_each_other_one_noticed() {
        assert_eq!(CONTENTS.faults(&FILES), Vec::<String>::new());
        assert_eq!(CONTENTS.faults(&without("LICENSE-MIT")), ["made: no LICENSE-MIT"]);
        assert_eq!(CONTENTS.faults(&without("kernels/a.cu")), ["made: no kernels/*.cu"]);
        assert_eq!(CONTENTS.faults(&without("notes.txt")), Vec::<String>::new());
        for file in ["kernels/host/a.cu", "tests/a.rs", "docs/a.png", "src/a/run.json"] {
            let files = [&FILES[..], &[file]].concat();
            assert_eq!(CONTENTS.faults(&files), [format!("made: {file} does not belong there")]);
        }
    }

    #[test]
    fn every_pattern_of_the_table_is_a_pattern() {
        let own = PACKAGES.iter().flat_map(|it| it.required.iter().chain(it.optional));
        for pattern in REQUIRED.iter().chain(&OPTIONAL).chain(own) {
            assert!(Pattern::new(pattern).is_ok(), "{pattern}");
        }
    }
}
