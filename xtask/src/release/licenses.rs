//! The licenses of what the programs link, evaluated and listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use cargo_metadata::{DependencyKind, Metadata, Node, NodeDep, Package, PackageId, Target};
use spdx::{Expression, ParseMode};

use crate::error::{Error, Result};
use crate::setup::pins::{Pins, Wheel};
use crate::{generated, workspace};

/// What is built for users: the name of each program, and the package that it is.
const PROGRAMS: [(&str, &str); 3] =
    [("reproduce", "qrnn"), ("kernel", "qrnn-jupyter"), ("kernel", "qrnn-preload")];

/// Licenses under which a crate may be linked into programs under MIT or Apache-2.0.
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0", // it covers the files of that crate, not what links them
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The licenses of the wheels that `cargo xtask setup` downloads.
const WHEELS: [(&str, &str); 4] = [
    ("torch", "BSD-3-Clause; LICENSE and NOTICE in the wheel list the libraries inside"),
    ("nvidia-cuda-runtime", "NVIDIA's own, License.txt in the wheel"),
    ("nvidia-cuda-cupti", "NVIDIA's own, License.txt in the wheel"),
    ("nvidia-cuda-nvrtc", "NVIDIA's own, License.txt in the wheel"),
];

/// Write THIRD-PARTY-LICENSES.md; fails where a crate's license forbids that programs link it
#[derive(Debug, clap::Args)]
pub struct Licenses {
    /// Write nothing; fail where the file is stale
    #[arg(long)]
    pub check: bool,
}

impl Licenses {
    pub fn run(self) -> Result<()> {
        let root = workspace::root();
        let text = text(&workspace::with_dependencies(&root)?)?;
        generated::store(&root.join("THIRD-PARTY-LICENSES.md"), &text, self.check, "licenses")
    }
}

/// The text of THIRD-PARTY-LICENSES.md.
fn text(metadata: &Metadata) -> Result<String> {
    let mut text = "# Third-party licenses\n\n`cargo xtask licenses` writes this file.\n\n\
        ## Downloaded by set-up\n\n\
        The programs load these libraries; they are neither in this repository nor in its packages.\n\n\
        | wheel | version | license |\n| --- | --- | --- |\n"
        .to_owned();
    let pins = Pins::read()?;
    for wheel in pins.linked.wheels.iter().chain(&pins.nvrtc.wheels) {
        let _ = writeln!(text, "| {} | {} | {} |", wheel.name, wheel.version, of_wheel(wheel)?);
    }
    text += "\n## In the programs\n\n\
        The font of plots, Noto Sans 1.04 (Copyright 2012 Google Inc.), is in the crate ttf-noto-sans \
        and is licensed under Apache-2.0.\n\n\
        | crate | version | license | program |\n| --- | --- | --- | --- |\n";
    for (package, programs) in linked(metadata)? {
        let license = of_crate(package)?;
        let programs = programs.into_iter().collect::<Vec<_>>().join(", ");
        let _ =
            writeln!(text, "| {} | {} | {license} | {programs} |", package.name, package.version);
    }
    Ok(text)
}

fn of_wheel(wheel: &Wheel) -> Result<&'static str> {
    let found = WHEELS.iter().find(|(name, _)| *name == wheel.name);
    found.map(|(_, license)| *license).ok_or_else(|| {
        Error::machine(
            format!("the license of the wheel {} is not known", wheel.name),
            "add it to WHEELS in xtask/src/release/licenses.rs",
        )
    })
}

fn of_crate(package: &Package) -> Result<&str> {
    let refuse = |problem: String| {
        Err(Error::machine(
            format!("{} {}: {problem}", package.name, package.version),
            "use another crate, or add the license to ALLOWED in xtask/src/release/licenses.rs with \
             the reason why programs under MIT or Apache-2.0 may link it",
        ))
    };
    let Some(license) = &package.license else { return refuse("it names no license".into()) };
    // Old crates write `MIT/Apache-2.0`.
    match Expression::parse_mode(license, ParseMode::LAX) {
        Err(error) => refuse(format!("its license is no SPDX expression: {error}")),
        Ok(expression) if expression.evaluate(|it| ALLOWED.contains(&&*it.to_string())) => {
            Ok(license)
        }
        Ok(_) => refuse(format!("its license, {license}, is not allowed")),
    }
}

/// The crates of other people that each program links, by name and version.
fn linked(metadata: &Metadata) -> Result<Vec<(&Package, BTreeSet<&'static str>)>> {
    let packages: BTreeMap<&PackageId, &Package> =
        metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let nodes: BTreeMap<&PackageId, &Node> = nodes.map(|node| (&node.id, node)).collect();
    // The compiler loads a procedural macro; programs do not contain it.
    let is_linked = |dependency: &NodeDep| {
        dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            && !packages
                .get(&dependency.pkg)
                .is_some_and(|it| it.targets.iter().any(Target::is_proc_macro))
    };
    let mut linked: BTreeMap<&PackageId, BTreeSet<&str>> = BTreeMap::new();
    for (program, package) in PROGRAMS {
        let root = metadata.packages.iter().find(|found| *found.name == package);
        let root = root.ok_or_else(|| {
            Error::machine(
                format!("the workspace has no package {package}"),
                "correct PROGRAMS in xtask/src/release/licenses.rs",
            )
        })?;
        let mut queue = vec![&root.id];
        while let Some(id) = queue.pop() {
            if linked.entry(id).or_default().insert(program) {
                let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
                queue.extend(dependencies.filter(|it| is_linked(it)).map(|it| &it.pkg));
            }
        }
    }
    let mut linked: Vec<_> = linked
        .into_iter()
        .filter_map(|(id, programs)| Some((*packages.get(id)?, programs)))
        .filter(|(package, _)| package.source.is_some())
        .collect();
    linked.sort_by_key(|(package, _)| (&package.name, &package.version));
    Ok(linked)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, license: &str, kind: &str) -> serde_json::Value {
        let ours = PROGRAMS.iter().any(|(_, package)| *package == name);
        json!({
            "name": name, "version": "1.0.0", "id": name, "license": license, "authors": [],
            "source": (!ours).then_some("registry+https://github.com/rust-lang/crates.io-index"),
            "dependencies": [], "features": {}, "manifest_path": "/Cargo.toml", "edition": "2024",
            "categories": [], "keywords": [],
            "targets": [{
                "name": name, "kind": [kind], "crate_types": [kind], "src_path": "/lib.rs",
                "edition": "2024", "doctest": true, "test": true, "doc": true
            }],
        })
    }

    fn node(id: &str, dependencies: &[(&str, Option<&str>)]) -> serde_json::Value {
        let dependency = |(pkg, kind): &(&str, Option<&str>)| json!({"name": pkg, "pkg": pkg, "dep_kinds": [{"kind": kind, "target": null}]});
        json!({
            "id": id, "dependencies": [], "features": [],
            "deps": dependencies.iter().map(dependency).collect::<Vec<_>>(),
        })
    }

    /// qrnn links `a` and `derive`, `a` links `b`; `build` and `dev` help to build, `hidden` the macro.
    fn workspace(license_of_b: &str) -> Metadata {
        let packages = [
            package("qrnn", "MIT", "lib"),
            package("qrnn-jupyter", "MIT", "bin"),
            package("qrnn-preload", "MIT", "dylib"),
            package("a", "MIT/Apache-2.0", "lib"),
            package("b", license_of_b, "lib"),
            package("derive", "no license", "proc-macro"),
            package("hidden", "no license", "lib"),
            package("build", "no license", "lib"),
        ];
        let nodes = [
            node("qrnn", &[("a", None), ("derive", None), ("build", Some("build"))]),
            node("qrnn-jupyter", &[("b", None), ("build", Some("dev"))]),
            node("qrnn-preload", &[("qrnn", None)]),
            node("a", &[("b", None)]),
            node("b", &[]),
            node("derive", &[("hidden", None)]),
            node("hidden", &[]),
            node("build", &[]),
        ];
        serde_json::from_value(json!({
            "packages": packages, "workspace_members": [], "workspace_root": "/",
            "target_directory": "/", "version": 1, "resolve": {"nodes": nodes, "root": null},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_linked_is_listed_with_its_programs() {
        let text = text(&workspace("GPL-3.0-only OR (ISC AND Unicode-3.0)")).unwrap();
        let (_, crates) = text.split_once("| crate |").unwrap();
        let rows: Vec<&str> = crates.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| a | 1.0.0 | MIT/Apache-2.0 | kernel, reproduce |",
                "| b | 1.0.0 | GPL-3.0-only OR (ISC AND Unicode-3.0) | kernel, reproduce |"
            ]
        );
        assert!(text.contains("| torch | 2.11.0 | BSD-3-Clause"), "{text}");
    }

    #[test]
    fn a_license_that_conflicts_is_refused_with_the_name_of_the_crate() {
        for license in ["GPL-3.0-only", "MIT AND GPL-2.0-or-later", "Custom license", ""] {
            let message = text(&workspace(license)).unwrap_err().to_string();
            assert!(message.starts_with("b 1.0.0: "), "{message}");
        }
    }
}
