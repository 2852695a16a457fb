//! Checks docs/connection.md against the code: statuses and close codes with their reasons, and the limits.

use expect_test::expect_file;

use crate::connection::error::ConnectionError;
use crate::connection::outbound::{SendFailure, SendOutcome};
use crate::connection::policy::ConnectionPolicy;

const PAGE: &str = include_str!("../../../../../docs/connection.md");

/// Returns the cells of the table rows under this heading, without the table's head.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading));
    let lines = section.unwrap_or_else(|| panic!("no section {heading}")).lines();
    let tables = lines.filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    tables.skip(2).map(|row| row.split('|').map(str::trim).collect()).collect()
}

#[test]
fn docs_statuses_and_close_codes_match_the_code() {
    let rows = rows("What is not tried again");
    assert!(!rows.is_empty());
    for row in rows {
        let [reason, statuses, codes, is_tried_again] = row[..] else { panic!("not four cells: {row:?}") };
        let numbers = |cell: &'static str| cell.split(", ").filter(|number| !number.is_empty());
        let by_status =
            numbers(statuses).map(|status| ConnectionError::from_status(status.parse().unwrap(), None));
        let by_code = numbers(codes).map(|code| ConnectionError::from_close(code.parse().ok(), ""));
        for error in by_status.chain(by_code) {
            let recorded = error.reason().as_str();
            assert_eq!(reason.trim_matches('`'), recorded, "{error:?}");
            assert_eq!(is_tried_again, if error.is_retryable() { "yes" } else { "no" }, "{error:?}");
        }
    }
}

#[test]
fn docs_limits_match_the_default_policy() {
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

#[test]
fn docs_list_every_send_outcome() {
    let (begin, end) = ("<!-- outcomes: written by a test -->\n\n", "<!-- end of the table -->");
    let (before, rest) = PAGE.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let meaning = |failure: &SendFailure| match failure {
        SendFailure::Expired => "its `wait_timeout` ended before its turn came",
        SendFailure::QueueFull => "the buffer was full",
        SendFailure::TooLarge => "it is larger than the limit",
        SendFailure::Dropped => "the connection was stopped before its turn came",
        SendFailure::Disabled => "the configuration says that the backend has no WebSocket",
        SendFailure::Unknown => {
            "the socket ended during the write: it may have arrived. It is not sent again"
        }
    };
    let row = |outcome: SendOutcome, meaning: &str| {
        let word = serde_json::to_value(outcome).unwrap();
        format!("| `{}` | {meaning} |\n", word.as_str().unwrap())
    };
    let sent =
        row(SendOutcome::Sent, "written to the socket completely; whether the backend read it is unknown");
    let failures =
        SendFailure::ALL.iter().map(|failure| row(SendOutcome::Failed(*failure), meaning(failure)));
    let table: String = [sent].into_iter().chain(failures).collect();
    let page = format!("{before}{begin}| outcome | meaning |\n|---|---|\n{table}\n{end}{after}");
    expect_file!["../../../../../docs/connection.md"].assert_eq(&page);
}
