//! Rules for names, paths and other text.

use std::path::PathBuf;

use mainstay_actors::network::urls::{BaseUrl, is_plain_path};
use mainstay_actors::queue::GroupLimit;

use super::{ParseResult, TomlValue, invalid, mismatch};
use crate::config::choice::{HealthSource, ReadyWhen};
use crate::placeholders::NAMES;

/// The longest text that any key takes, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 4_096;
/// The longest agent id, in bytes.
const ID_BYTES_MAX: usize = 64;

/// Parses a text of limited length without NUL. `expected` names it with an example: `a string such as "/ws"`.
pub(crate) fn string<'v>(value: &'v TomlValue<'_>, expected: &str) -> ParseResult<&'v str> {
    let Some(text) = value.get_ref().as_str() else {
        return mismatch(expected, value);
    };
    if text.len() > TEXT_BYTES_MAX {
        return invalid(format!("must not be longer than {TEXT_BYTES_MAX} bytes"));
    }
    if text.contains('\0') {
        return invalid("must not contain a NUL character");
    }
    Ok(text)
}

/// Parses any text.
pub(crate) fn any_string(value: &TomlValue<'_>) -> ParseResult<String> {
    string(value, "a string").map(str::to_owned)
}

/// Parses a path on an HTTP server: it starts with one `/` and has no query, which could hold a secret.
pub(crate) fn url_path(value: &TomlValue<'_>) -> ParseResult<String> {
    let text = string(value, "a string with a path, as in \"/ws\"")?;
    server_path(text).map(str::to_owned).or_else(invalid)
}

/// Parses the name of a query parameter, or empty for none.
pub(crate) fn query_name_or_empty(value: &TomlValue<'_>) -> ParseResult<String> {
    let text = string(value, "a string with the name of a query parameter, as in \"token\"")?;
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    if text.bytes().all(is_valid) {
        Ok(text.to_owned())
    } else {
        invalid(
            "must be the name of a query parameter (letters, digits, \"-\", \"_\", \".\" or \"~\"), not the token itself",
        )
    }
}

/// Parses a pattern of paths on an HTTP server.
pub(crate) fn path_glob(value: &TomlValue<'_>) -> ParseResult<String> {
    let text = string(value, "a string with a pattern of paths, as in \"/api/model/**\"")?;
    match GroupLimit::new(text, 1) {
        Ok(_) if text.starts_with('/') => Ok(text.to_owned()),
        Ok(_) => invalid("must start with \"/\""),
        Err(error) => invalid(format!("must be a pattern of paths: {error}")),
    }
}

/// Reads the sign that the backend's process is ready.
pub(crate) fn backend_ready(value: &TomlValue<'_>) -> ParseResult<ReadyWhen> {
    match value.get_ref().as_str() {
        Some("listening") => Ok(ReadyWhen::Listening),
        _ => ready_of(value, "\"listening\", \"none\", \"stdout:TEXT\" or \"http:PATH\""),
    }
}

/// Reads the sign that an agent's process is ready.
pub(crate) fn ready(value: &TomlValue<'_>) -> ParseResult<ReadyWhen> {
    ready_of(value, "\"none\", \"stdout:TEXT\" or \"http:PATH\"")
}

fn ready_of(value: &TomlValue<'_>, expected: &str) -> ParseResult<ReadyWhen> {
    let text = string(value, expected)?;
    if text.starts_with("http:") && NAMES.iter().any(|name| text.contains(&format!("{{{name}}}"))) {
        return invalid(
            "must have no placeholder behind \"http:\": a path is one of the backend wherever that listens, as in \
             \"http:/health\", and another server has a fixed URL",
        );
    }
    if text.starts_with("http://") {
        return local_url(text).map(ReadyWhen::HttpAt).or_else(invalid);
    }
    match text.split_once(':') {
        None if text == "none" => Ok(ReadyWhen::None),
        Some(("stdout", line)) if !line.is_empty() => Ok(ReadyWhen::Stdout(line.to_owned())),
        Some(("stdout", _)) => invalid("needs a text to wait for, as in \"stdout:listening\""),
        Some(("http", path)) => probed_path(path).map(ReadyWhen::Http),
        _ => invalid(format!("must be {expected}")),
    }
}

/// Parses the sign of life of a running program.
pub(crate) fn health(value: &TomlValue<'_>) -> ParseResult<HealthSource> {
    let expected = "\"none\", \"ping\" or \"http:PATH\"";
    let text = string(value, expected)?;
    match text.split_once(':') {
        _ if text.starts_with("http://") => local_url(text).map(HealthSource::HttpAt).or_else(invalid),
        None if text == "none" => Ok(HealthSource::None),
        None if text == "ping" => Ok(HealthSource::Ping),
        Some(("http", path)) => probed_path(path).map(HealthSource::Http),
        _ => invalid(format!("must be {expected}")),
    }
}

fn probed_path(path: &str) -> ParseResult<String> {
    match server_path(path) {
        Ok(path) => Ok(path.to_owned()),
        Err(predicate) => invalid(format!("has a path that {predicate}")),
    }
}

/// Parses the id of an agent; it becomes part of URLs and of the actor's path.
pub(crate) fn agent_id(value: &TomlValue<'_>) -> ParseResult<String> {
    let text = string(value, "a string such as \"planner\"")?;
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(valid) {
        Ok(text.to_owned())
    } else {
        invalid(format!("must be 1 to {ID_BYTES_MAX} letters (a-z, A-Z), digits, \"-\" or \"_\""))
    }
}

/// Parses the name of an environment variable, or empty for none.
pub(crate) fn variable_or_empty(value: &TomlValue<'_>) -> ParseResult<String> {
    let text = string(value, "a string with the name of an environment variable")?;
    if text.is_empty() || is_variable(text) {
        Ok(text.to_owned())
    } else {
        invalid(
            "must be the name of an environment variable (letters, digits and \"_\"), not the secret itself",
        )
    }
}

/// Returns whether a text is a portable name of an environment variable.
pub(crate) fn is_variable(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(valid) && !name.starts_with(|first: char| first.is_ascii_digit()) && !name.is_empty()
}

/// Parses a folder; empty for none.
pub(crate) fn folder_or_empty(value: &TomlValue<'_>) -> ParseResult<PathBuf> {
    string(value, "a string with a folder").map(PathBuf::from)
}

/// Parses a file; empty for none.
pub(crate) fn file_or_empty(value: &TomlValue<'_>) -> ParseResult<PathBuf> {
    string(value, "a string with a file").map(PathBuf::from)
}

/// Parses a folder.
pub(crate) fn folder(value: &TomlValue<'_>) -> ParseResult<PathBuf> {
    match string(value, "a string with a folder")? {
        "" => invalid("must not be empty"),
        text => Ok(PathBuf::from(text)),
    }
}

/// Reads the URL of a program on this computer.
fn local_url(text: &str) -> Result<BaseUrl, String> {
    match BaseUrl::parse(text) {
        Ok(url) if url.is_loopback() => Ok(url),
        Ok(_) => Err("must be a URL on this computer, as in \"http://127.0.0.1:9000/health\"".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn server_path(text: &str) -> Result<&str, &'static str> {
    if !text.starts_with('/') || text.starts_with("//") {
        Err("must start with one \"/\"")
    } else if text.contains(['?', '#']) {
        Err("must not have a query or fragment: a file is no place for a secret")
    } else if !is_plain_path(text) {
        Err("must be a path of a URL, with everything special percent-encoded and without \".\" and \"..\"")
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::config::parser::tests::{check_errors, read};

    #[test]
    fn path_starts_with_one_slash_and_has_no_query() {
        for toml in ["\"/\"", "\"/ws\"", "\"/a/b-c_d~/%20\""] {
            assert!(read(toml, url_path).is_ok(), "{toml}");
        }
        check_errors(
            &expect![[r#"
            ""                       "k" must start with one "/"
            "//other.host/ws"        "k" must start with one "/"
            "/ws?token=hush"         "k" must not have a query or fragment: a file is no place for a secret
            "/w s"                   "k" must be a path of a URL, with everything special percent-encoded and without "." and ".."
            "/\u0000"                "k" must not contain a NUL character
            8000                     "k" must be a string with a path, as in "/ws", not an integer
        "#]],
            url_path,
        );
    }

    #[test]
    fn readiness_is_none_a_line_or_a_path() {
        assert_eq!(read("\"none\"", health), Ok(HealthSource::None));
        assert_eq!(read("\"ping\"", health), Ok(HealthSource::Ping));
        assert_eq!(read("\"http:/health\"", health), Ok(HealthSource::Http("/health".to_owned())));
        let at = HealthSource::HttpAt(BaseUrl::parse("http://127.0.0.1:9/h").unwrap());
        assert_eq!(read("\"http://127.0.0.1:9/h\"", health), Ok(at));
        for wrong in ["\"pong\"", "\"stdout:up\"", "\"http:health\"", "\"http://example.org/h\"", "1"] {
            assert!(read(wrong, health).is_err(), "{wrong}");
        }
        assert_eq!(read("\"listening\"", backend_ready), Ok(ReadyWhen::Listening));
        assert_eq!(read("\"none\"", backend_ready), Ok(ReadyWhen::None));
        assert!(read("\"listening\"", ready).is_err(), "an agent has no address");
        assert_eq!(read("\"none\"", ready), Ok(ReadyWhen::None));
        assert_eq!(read("\"stdout:up: \"", ready), Ok(ReadyWhen::Stdout("up: ".to_owned())));
        assert_eq!(read("\"http:/health\"", ready), Ok(ReadyWhen::Http("/health".to_owned())));
        for url in
            ["http://127.0.0.1:9000/health", "http://localhost:1/", "http://[::1]:65535/a/b", "http://127.1"]
        {
            let read = read(&format!("\"{url}\""), ready);
            assert_eq!(read, Ok(ReadyWhen::HttpAt(BaseUrl::parse(url).unwrap())));
        }
        check_errors(
            &expect![[r#"
            ""                       "k" must be "none", "stdout:TEXT" or "http:PATH"
            "stderr:up"              "k" must be "none", "stdout:TEXT" or "http:PATH"
            "none:"                  "k" must be "none", "stdout:TEXT" or "http:PATH"
            "stdout"                 "k" must be "none", "stdout:TEXT" or "http:PATH"
            "stdout:"                "k" needs a text to wait for, as in "stdout:listening"
            "http:health"            "k" has a path that must start with one "/"
            "http:/h/{port}"         "k" must have no placeholder behind "http:": a path is one of the backend wherever that listens, as in "http:/health", and another server has a fixed URL
            "http://host:{port}/h"   "k" must have no placeholder behind "http:": a path is one of the backend wherever that listens, as in "http:/health", and another server has a fixed URL
            "http://host:80/health"  "k" must be a URL on this computer, as in "http://127.0.0.1:9000/health"
            "http://[::1]:0/"        "k" must have a valid host, and a port from 1 to 65535 if any, as in "http://localhost:8000"
            "http://localhost:8/?a"  "k" must not have a query or fragment: put a token in an environment variable and name that in "token_env"
            false                    "k" must be "none", "stdout:TEXT" or "http:PATH", not a boolean
        "#]],
            ready,
        );
    }

    #[test]
    fn agent_id_is_short_and_plain() {
        for id in ["a", "planner", "Agent_2-b", &"x".repeat(ID_BYTES_MAX)] {
            assert_eq!(read(&format!("\"{id}\""), agent_id), Ok(id.to_owned()));
        }
        for id in ["", "a b", "a/b", "..", "é", &"x".repeat(ID_BYTES_MAX + 1)] {
            let refusal = read(&format!("\"{id}\""), agent_id).unwrap_err();
            assert_eq!(refusal, "\"k\" must be 1 to 64 letters (a-z, A-Z), digits, \"-\" or \"_\"");
        }
    }

    #[test]
    fn token_as_variable_name_is_refused_without_its_value() {
        for name in ["", "TOKEN", "_t2"] {
            assert_eq!(read(&format!("\"{name}\""), variable_or_empty), Ok(name.to_owned()));
        }
        for token in ["sk-hush", "2FAST", "a b", "$TOKEN", "é"] {
            let refusal = read(&format!("\"{token}\""), variable_or_empty).unwrap_err();
            assert!(refusal.contains("name of an environment variable") && !refusal.contains(token));
        }
    }

    #[test]
    fn query_name_is_plain_and_no_token() {
        for name in ["", "token", "access_token", "a-b.c~1"] {
            assert_eq!(read(&format!("\"{name}\""), query_name_or_empty), Ok(name.to_owned()));
        }
        for name in ["token=hush", "a b", "é", "a&b"] {
            let refusal = read(&format!("\"{name}\""), query_name_or_empty).unwrap_err();
            assert!(refusal.contains("name of a query parameter") && !refusal.contains("hush"), "{refusal}");
        }
    }

    #[test]
    fn text_has_a_limit() {
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
        assert!(read(&text(TEXT_BYTES_MAX), any_string).is_ok());
        let refusal = read(&text(TEXT_BYTES_MAX + 1), any_string).unwrap_err();
        assert_eq!(refusal, "\"k\" must not be longer than 4096 bytes");
    }
}
