//! Checks that the pages which name tests name existing ones, and leave no case out.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its sources has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const CONNECTION: &str = include_str!("../../../docs/conformance/connection.md");
const REQUESTS: &str = include_str!("../../../docs/conformance/requests.md");
const CACHE: &str = include_str!("../../../docs/conformance/cache.md");
const AGENTS: &str = include_str!("../../../docs/conformance/agents.md");
const FIELD_CASES: &str = include_str!("../../../docs/conformance/field-cases.md");

/// The places of the tests that the pages name, from this crate's folder.
const FOLDERS: [&str; 6] =
    ["../runtime/src", "../runtime/tests", "src", "tests", "../app/src", "../../tests"];

/// The macros that make tests of a function.
const TEST_MACROS: [&str; 2] = ["both!(", "timed!("];

/// Lists every test below `folder` that runs by itself. Helpers and ignored tests prove nothing.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            found.extend(tests_of(&source));
        }
    }
}

/// Lists the functions right below a test attribute, perhaps with other attributes in between, or right below a macro that
/// makes tests of them.
fn tests_of(source: &str) -> Vec<String> {
    let (mut attributes, mut names) = (Vec::new(), Vec::new());
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributes.push(line);
        } else if let Some(rest) = TEST_MACROS.iter().find_map(|name| line.strip_prefix(name)) {
            names.extend(rest.strip_suffix(");").map(str::to_owned));
        } else if let Some((_, rest)) = line.split_once("fn ")
            && !line.starts_with("//")
        {
            let is_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let is_ignored = attributes.iter().any(|line| line.starts_with("#[ignore"));
            if attributes.iter().any(is_test) && !is_ignored {
                names.extend(rest.split('(').next().map(str::to_owned));
            }
            attributes.clear();
        } else if !line.starts_with("//") {
            attributes.clear();
        }
    }
    names
}

/// Lists the words in backticks that read like a test's name.
fn named(page: &str) -> impl Iterator<Item = &str> {
    let is_name = |text: &&str| {
        text.matches('_').count() > 2
            && text.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    page.split('`').skip(1).step_by(2).filter(is_name)
}

fn check(page: &str, cases: impl IntoIterator<Item = u32>) {
    let mut tests_here = BTreeSet::new();
    for folder in FOLDERS {
        tests(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut tests_here);
    }
    let missing: Vec<_> = named(page).filter(|name| !tests_here.contains(*name)).collect();
    assert!(missing.is_empty(), "named, but not there: {missing:?}");
    let rows = page.lines().filter(|line| line.contains('`'));
    let documented: BTreeSet<u32> =
        rows.filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(documented, cases.into_iter().collect());
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
fn each_case_of_the_cache_has_a_test_that_exists() {
    check(CACHE, 31..=39);
}

#[test]
fn each_case_of_the_agents_has_a_test_that_exists() {
    check(AGENTS, 43..=57);
}

#[test]
fn each_case_from_the_field_has_a_test_that_exists() {
    check(FIELD_CASES, 1..=24);
}

#[test]
fn only_a_test_that_runs_counts_as_one() {
    let source = "#[test]\nfn some_test() {\n    fn helper() {}\n}\nfn helper_of_a_test() {}\n#[tokio::test]\n\
                  // Why.\n#[cfg(unix)]\nasync fn another() {}\n#[test]\n#[ignore]\nfn ignored() {}\nboth!(scene);\nfn scene() {}\n";
    assert_eq!(tests_of(source), ["some_test", "another", "scene"]);
}
