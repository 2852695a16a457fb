//! docs/connection.md says what the code does: its cases have their tests, and its statuses and close codes their reasons.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::fault::Fault;
use super::policy::{ConnectionPolicy, is_retryable};

const PAGE: &str = include_str!("../../../../docs/connection.md");

/// The cells of the table rows under this heading, without its head.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading));
    let lines = section.unwrap_or_else(|| panic!("no section {heading}")).lines();
    let tables = lines.filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    tables.skip(2).map(|row| row.split('|').map(str::trim).collect()).collect()
}

/// The names of the functions that follow a `test` attribute, in every file below.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(tests(&fs::read_to_string(&path).unwrap()).map(str::to_owned));
        }
    }
}

fn tests(source: &str) -> impl Iterator<Item = &str> {
    source.split("#[").filter_map(|part| {
        let (attribute, rest) = part.split_once("]\n")?;
        let is_test = attribute == "test" || attribute.starts_with("tokio::test");
        let declaration = rest.trim_start().trim_start_matches("async ").strip_prefix("fn ")?;
        is_test.then(|| declaration.split('(').next())?
    })
}

#[test]
fn every_case_is_in_the_docs_and_every_test_that_is_named_there_exists() {
    let mut existing = BTreeSet::new();
    tests_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/connection"), &mut existing);
    let mut cases = BTreeSet::new();
    for row in rows("The fourteen cases") {
        let [case, _, test] = row[..] else { panic!("not three cells: {row:?}") };
        cases.insert(case.parse::<u32>().unwrap());
        let test = test.trim_matches('`');
        assert!(existing.contains(test), "case {case}: there is no such test: {test}");
    }
    assert_eq!(cases, (1..=14).collect());
}

#[test]
fn the_statuses_and_close_codes_in_the_docs_lead_to_what_stands_beside_them() {
    let rows = rows("What is not tried again");
    assert!(!rows.is_empty());
    for row in rows {
        let [reason, statuses, codes, is_tried_again] = row[..] else { panic!("not four cells: {row:?}") };
        let numbers = |cell: &'static str| cell.split(", ").filter(|number| !number.is_empty());
        let by_status = numbers(statuses).map(|status| Fault::from_status(status.parse().unwrap(), None));
        let by_code = numbers(codes).map(|code| Fault::from_close(code.parse().ok(), ""));
        for fault in by_status.chain(by_code) {
            let told = serde_json::to_value(fault.kind).unwrap();
            assert_eq!(Some(reason.trim_matches('`')), told.as_str(), "{fault:?}");
            assert_eq!(is_tried_again, if is_retryable(fault.kind) { "yes" } else { "no" }, "{fault:?}");
        }
    }
}

#[test]
fn the_limits_in_the_docs_are_the_defaults() {
    let policy = ConnectionPolicy::default();
    let mib = |bytes: usize| format!("{} MiB", bytes >> 20);
    let count = |count: usize| format!("{},{:03}", count / 1000, count % 1000);
    let kept = format!("{} and {}", count(policy.inbound_max), mib(policy.inbound_bytes_max));
    let expected = [
        ("messages that wait (`outbound_max`)", count(policy.outbound_max)),
        ("bytes that wait", mib(policy.outbound_bytes_max)),
        ("one message or frame to be sent", mib(policy.message_max_bytes)),
        ("one message or frame that comes in", mib(policy.message_max_bytes)),
        ("frames kept for a listener", kept),
    ];
    let rows = rows("What is sent");
    for (limit, value) in expected {
        let row = rows.iter().find(|row| row[0] == limit).unwrap_or_else(|| panic!("no limit {limit}"));
        assert_eq!(row[1], value, "{limit}");
    }
}
