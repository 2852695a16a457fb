//! Checks the crates of others: the oldest Rust that they need, and their licences in `docs/third-party.md`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use expect_test::expect_file;
use serde_json::Value;

/// Reads what cargo knows of every package, for every platform.
fn metadata() -> Value {
    let cargo = std::env::var("CARGO").expect("cargo runs the test");
    let args = ["metadata", "--locked", "--all-features", "--format-version", "1"];
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in a folder of the repository");
    let output = Command::new(cargo).args(args).current_dir(root).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns the ids of the packages that become part of a program with the library or the binary.
fn shipped(metadata: &Value) -> BTreeSet<&str> {
    let nodes: HashMap<&str, &Value> =
        list(&metadata["resolve"]["nodes"]).map(|node| (text(node, "id"), node)).collect();
    let root = list(&metadata["packages"]).find(|package| package["name"] == "mainstay").expect("it is ours");
    let (mut waiting, mut found) = (vec![text(root, "id")], BTreeSet::new());
    while let Some(id) = waiting.pop() {
        if found.insert(id) {
            let normal = list(&nodes[id]["deps"])
                .filter(|dependency| list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null()));
            waiting.extend(normal.map(|dependency| text(dependency, "pkg")));
        }
    }
    found
}

fn version(text: &str) -> Vec<u64> {
    text.split('.').map(|part| part.parse().expect("a version is numbers")).collect()
}

#[test]
#[ignore = "it downloads the packages of every platform; .ci/run runs it"]
fn no_dependency_needs_a_newer_rust() {
    let metadata = metadata();
    let needed = |package: &Value| package["rust_version"].as_str().map(version);
    let ours = list(&metadata["packages"]).find(|package| package["name"] == "mainstay").and_then(needed);
    let newer = list(&metadata["packages"])
        .filter(|package| needed(package) > ours)
        .map(|package| text(package, "name"));
    assert_eq!(newer.collect::<Vec<_>>(), [""; 0], "the workspace promises Rust {ours:?}");
}

#[test]
#[ignore = "it downloads the packages of every platform; .ci/run runs it"]
fn page_lists_the_licence_of_each_shipped_crate() {
    let metadata = metadata();
    let shipped = shipped(&metadata);
    let mut crates: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        // Without a source it is of this workspace.
        if shipped.contains(text(package, "id")) && !package["source"].is_null() {
            let licence = text(package, "license");
            assert!(!licence.is_empty(), "{} names no licence", package["name"]);
            let versions = crates.entry(licence).or_default().entry(text(package, "name")).or_default();
            versions.insert(text(package, "version"));
        }
    }
    let mut page = "# Third-party crates\n\nThe crates of others that become part of a program with Mainstay, on any platform and with all \
                    features, by licence.\n`cargo test -p mainstay-tests --test house -- --ignored` keeps the list current.\n"
        .to_owned();
    for (licence, crates) in &crates {
        let versions = |versions: &BTreeSet<&str>| versions.iter().copied().collect::<Vec<_>>().join(", ");
        let lines = crates.iter().map(|(name, found)| format!("- {name} {}\n", versions(found)));
        page += &format!("\n## {licence}\n\n{}", lines.collect::<String>());
    }
    expect_file!["../../docs/third-party.md"].assert_eq(&page);
}
