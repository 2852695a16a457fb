//! Checks that docs/conformance/supervision.md and these tests name each other.

use std::collections::BTreeSet;

const TABLE: &str = include_str!("../../../../docs/conformance/supervision.md");
const SOURCES: [&str; 9] = [
    include_str!("administration.rs"),
    include_str!("delayed_restart.rs"),
    include_str!("intensity.rs"),
    include_str!("introspection.rs"),
    include_str!("restart_types.rs"),
    include_str!("significant_children.rs"),
    include_str!("start.rs"),
    include_str!("stop.rs"),
    include_str!("strategies.rs"),
];
const MACHINE_TESTS: &str = include_str!("../../src/supervisor/machine/tests.rs");

/// Returns the names of the functions that follow a `test` attribute.
fn tests(source: &str) -> impl Iterator<Item = &str> {
    source.split("test").filter_map(|part| {
        let (attribute, rest) = part.split_once('\n')?;
        let declaration = rest.trim_start().trim_start_matches("async ").strip_prefix("fn ")?;
        attribute.ends_with(']').then(|| declaration.split('(').next())?
    })
}

/// Returns the texts in backticks that read like a test's name.
fn listed() -> BTreeSet<&'static str> {
    let is_name = |text: &&str| {
        text.matches('_').count() > 3 && text.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())
    };
    TABLE.split('`').skip(1).step_by(2).filter(is_name).collect()
}

#[test]
fn supervision_table_and_tests_name_each_other() {
    let here: BTreeSet<&str> = SOURCES.into_iter().flat_map(tests).collect();
    let in_machine: BTreeSet<&str> = tests(MACHINE_TESTS).collect();
    let listed = listed();
    let missing: Vec<_> =
        listed.iter().filter(|name| !here.contains(*name) && !in_machine.contains(*name)).collect();
    assert!(missing.is_empty(), "listed, but there is no such test: {missing:?}");
    let unlisted: Vec<_> = here.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not listed: {unlisted:?}");
    let lines: BTreeSet<u32> =
        TABLE.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(lines, (1..=44).collect());
}
