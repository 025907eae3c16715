use super::*;
use serde_json::json;

fn package(id: &str) -> Value {
    json!({
        "id": id, "name": id, "version": "1.2.3", "manifest_path": format!("/p/{id}/Cargo.toml"),
        "dependencies": [], "features": {},
        "targets": [
            {"kind": ["custom-build"], "name": "build", "src_path": "/b", "edition": "2018"},
            {"kind": ["lib"], "name": id, "src_path": format!("/p/{id}/lib.rs"), "edition": "2018"},
        ],
    })
}

fn node(id: &str, uses: &[&str]) -> Value {
    let deps: Vec<Value> = uses
        .iter()
        .map(|id| json!({"name": id.replace('-', "_"), "pkg": id, "dep_kinds": [{"kind": null}]}))
        .chain([json!({"name": "t", "pkg": "test-only", "dep_kinds": [{"kind": "dev"}]})])
        .collect();
    json!({"id": id, "deps": deps, "dependencies": [], "features": ["std"]})
}

/// cell → qrnn → zip; cell → plot-all → plot → pixels → bits
fn metadata() -> Metadata {
    let all = ["cell", "qrnn", "zip", "plot-all", "plot", "pixels", "bits", "test-only"];
    let metadata = json!({
        "packages": all.map(package), "workspace_members": ["cell"], "version": 1,
        "workspace_root": "/p/cell", "target_directory": "/p/cell/target",
        "resolve": {"root": "cell", "nodes": [
            node("cell", &["qrnn", "plot-all"]),
            node("qrnn", &["zip"]),
            node("zip", &[]),
            node("plot-all", &["plot"]),
            node("plot", &["pixels"]),
            node("pixels", &["bits"]),
            node("bits", &[]),
            node("test-only", &[]),
        ]},
    });
    serde_json::from_value(metadata).unwrap()
}

#[test]
fn only_visible_crates_are_loaded() {
    let mut project = Project::default();
    project.add_packages(&metadata());
    let mut names: Vec<&str> = project.crates.iter().map(|krate| krate.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["pixels", "plot", "plot_all", "qrnn"]);
    let named: Vec<(&str, &str)> = project
        .named
        .iter()
        .map(|(name, number)| (name.as_str(), project.crates[*number].name.as_str()))
        .collect();
    assert_eq!(named, [("qrnn", "qrnn"), ("plot_all", "plot_all")]);
}

#[test]
fn crates_come_after_their_dependencies() {
    let mut project = Project::default();
    project.add_packages(&metadata());
    for (number, krate) in project.crates.iter().enumerate() {
        assert!(krate.dependencies.iter().all(|(_, used)| *used < number), "{krate:?}");
    }
    let plot = project.crates.iter().find(|krate| krate.name == "plot").unwrap();
    assert_eq!(plot.dependencies.len(), 1);
    assert_eq!(
        (plot.edition.as_str(), plot.features.as_slice()),
        ("2018", ["std".to_owned()].as_slice())
    );
    assert_eq!(plot.root, Path::new("/p/plot/lib.rs"));
}

#[test]
fn cfg_is_parsed() {
    assert_eq!(parse_cfg("unix"), ("unix".into(), None));
    assert_eq!(parse_cfg("target_os=\"linux\""), ("target_os".into(), Some("linux".into())));
}

#[test]
fn hashbrown_comes_before_std() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["core", "alloc", "std"] {
        let source = folder.path().join(name).join("src");
        std::fs::create_dir_all(&source).unwrap();
        std::fs::write(source.join("lib.rs"), "").unwrap();
    }
    let mut metadata = metadata();
    metadata.packages.push(serde_json::from_value(package("hashbrown")).unwrap());
    let mut project = Project::default();
    project.add_standard(folder.path(), hashbrown(&metadata));
    let names: Vec<&str> = project.crates.iter().map(|krate| krate.name.as_str()).collect();
    assert_eq!(names, ["core", "alloc", "hashbrown", "std"]);
    assert_eq!(project.crates[3].dependencies.len(), 3);
    assert!(project.crates.iter().all(|krate| krate.standard));
}
