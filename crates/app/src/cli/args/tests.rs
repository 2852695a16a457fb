//! Tests the arguments.

use super::data_dir::quote;
use super::json::read_answer;
use super::*;
use serde_json::json;

#[test]
fn answer_is_json_or_a_plain_word() {
    for (text, expected) in [
        ("allow", json!("allow")),
        ("true", json!(true)),
        ("7", json!(7)),
        ("\"7\"", json!("7")),
        ("", json!("")),
    ] {
        assert_eq!(read_answer(text).unwrap(), expected, "{text}");
    }
    for text in ["{\"a\":", "[1", "\"open", "@absent.json"] {
        assert!(read_answer(text).is_err(), "{text}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "\u{feff}[1]").unwrap();
    assert_eq!(read_answer(&format!("@{}", file.path().display())).unwrap(), json!([1]));
}

#[test]
fn any_method_is_sent_and_a_slip_has_a_hint() {
    for (given, method, near) in [
        ("get", "GET", None),
        ("PATCH", "PATCH", None),
        ("GTE", "GTE", Some("GET")),
        ("delet", "DELET", Some("DELETE")),
        ("SET", "SET", Some("GET")),
        ("propfind", "PROPFIND", None),
    ] {
        let args = Args::try_parse_from(["mainstay", "request", given, "/"]).unwrap();
        let CliCommand::Request(request) = args.command else { panic!("{given}") };
        let hint = near.map(|near| format!("the method {method} was sent as it is; did you mean {near}?"));
        assert_eq!((&*request.method, request.method_hint()), (method, hint));
    }
}

#[test]
fn folder_is_quoted_as_the_shell_takes_it() {
    for (text, expected) in [
        ("/home/me/.local", "/home/me/.local"),
        ("/home/me/my data", "'/home/me/my data'"),
        ("/tmp/$HOME`id`", "'/tmp/$HOME`id`'"),
        ("it's", r"'it'\''s'"),
        ("", "''"),
    ] {
        assert_eq!(quote(text, false), expected);
    }
    assert_eq!(quote(r"C:\My Data", true), "\"C:\\My Data\"");
}

#[test]
fn color_is_known_before_the_rest_is_read() {
    for (args, expected) in [
        (&["--color", "never", "statuss"][..], ColorChoice::Never),
        (&["status", "--color=always", "--help"], ColorChoice::Always),
        (&["status"], ColorChoice::Auto),
        (&["--color"], ColorChoice::Auto),
        (&["--color", "pink"], ColorChoice::Auto),
        (&["request", "--", "--color", "never"], ColorChoice::Auto),
    ] {
        assert_eq!(color_choice(args.iter().map(OsString::from)), expected, "{args:?}");
    }
}

#[test]
fn arguments_are_consistent() {
    Args::command().debug_assert();
}

#[test]
fn invalid_number_names_the_valid_ones() {
    let whole = |range: &str| format!("it must be a whole number from {range}");
    let request = "it must be the number of a request, such as 7, as `mainstay requests` shows it";
    for (args, argument, valid) in [
        (&["requests", "cancel", "first"][..], "<ID>", request.to_owned()),
        (&["requests", "prioritize", "1.5", "high"], "<ID>", request.to_owned()),
        (&["request", "GET", "/", "--retries", "many"], "--retries <N>", whole("0 to 4294967295")),
        (&["request", "GET", "/", "--retries=-1"], "--retries <N>", whole("0 to 4294967295")),
        (&["logs", "planner", "-n", "all"], "--lines <N>", whole(&format!("0 to {}", usize::MAX))),
        (&["demo", "--agents", "0"], "--agents <N>", whole("1 to 10000")),
        (&["demo", "--port", "65536"], "--port <PORT>", whole("0 to 65535")),
        (&["demo", "fail", "--status", "200"], "--status <STATUS>", whole("400 to 599")),
        (&["demo", "reset", "--times", "some"], "--times <N>", whole("1 to 1000000")),
        (&["demo-backend", "--port", "http"], "--port <PORT>", whole("0 to 65535")),
    ] {
        let error = Args::try_parse_from(["mainstay"].iter().chain(args)).unwrap_err().to_string();
        assert!(error.contains(&format!("for '{argument}': {valid}\n")), "{args:?}: {error}");
    }
}
