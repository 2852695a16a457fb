//! The pages that name tests name ones that exist, and leave no case out.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its sources has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

const CONNECTION: &str = include_str!("../../../docs/connection.md");
const REQUESTS: &str = include_str!("../../../docs/requests.md");
const AGENTS: &str = include_str!("../../../docs/agents.md");

/// Where tests are that the pages name, from this crate's folder.
const FOLDERS: [&str; 3] = ["src", "../app/src", "../../tests"];

/// Every function below `folder`.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let names = source.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
            found.extend(names.map(str::to_owned));
        }
    }
}

/// What stands in backticks and reads like a test's name.
fn named(page: &str) -> impl Iterator<Item = &str> {
    let is_name = |text: &&str| {
        text.matches('_').count() > 2 && text.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())
    };
    page.split('`').skip(1).step_by(2).filter(is_name)
}

fn check(page: &str, cases: RangeInclusive<u32>) {
    let mut functions_here = BTreeSet::new();
    for folder in FOLDERS {
        functions(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut functions_here);
    }
    let missing: Vec<_> = named(page).filter(|name| !functions_here.contains(*name)).collect();
    assert!(missing.is_empty(), "named, but not there: {missing:?}");
    let rows = page.lines().filter(|line| line.contains('`'));
    let told: BTreeSet<u32> =
        rows.filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(told, cases.collect());
}

#[test]
fn each_case_of_the_connection_has_a_test_that_exists() {
    check(CONNECTION, 1..=14);
}

#[test]
fn each_case_of_the_requests_has_a_test_that_exists() {
    check(REQUESTS, 15..=30);
}

#[test]
fn each_case_of_the_agents_has_a_test_that_exists() {
    check(AGENTS, 43..=51);
}
