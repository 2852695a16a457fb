//! Rules for lists and for tables with free keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use super::text::{any_string, folder, is_variable, string, variable_or_empty};
use super::{ParseResult, TomlValue, invalid, mismatch};
use crate::config::fault::{ConfigFault, index_step, key_step};

/// The most items that a list or a table with free keys takes.
const ITEMS_MAX: usize = 256;

/// Headers that carry a credential by their nature.
const SECRET_HEADERS: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"];

/// Text for text.
pub(crate) type StringMap = BTreeMap<String, String>;

/// Folders to watch, wherever the runtime is started from.
pub(crate) fn folders(value: &TomlValue<'_>) -> ParseResult<Vec<PathBuf>> {
    list(value, "a list of folders, as in [\"~/notes\"]", |value| {
        let folder = folder(value)?;
        if folder.is_absolute() || folder.starts_with("~") {
            return Ok(folder);
        }
        invalid("must be absolute, or begin with \"~/\", as in \"~/notes\"")
    })
}

/// Parses a program and its arguments, or nothing.
pub(crate) fn command(value: &TomlValue<'_>) -> ParseResult<Vec<String>> {
    let words =
        list(value, "a list with a program and its arguments, as in [\"planner\", \"--stdio\"]", any_string)?;
    match words.first() {
        Some(program) if program.is_empty() => invalid("must begin with the name of a program"),
        _ => Ok(words),
    }
}

/// Parses the subprotocols of a WebSocket, each once.
pub(crate) fn subprotocols(value: &TomlValue<'_>) -> ParseResult<Vec<String>> {
    let expected = "a list of subprotocols, as in [\"chat.v1\"]";
    let names = list(value, expected, |value| {
        let name = string(value, "a string with a subprotocol")?;
        // A subprotocol is a token of HTTP, as the name of a header is.
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            return invalid("must be a token of HTTP: letters, digits and any of !#$%&'*+-.^_`|~");
        }
        Ok(name.to_owned())
    })?;
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return invalid("must not name a subprotocol twice");
    }
    Ok(names)
}

/// Parses environment variables.
pub(crate) fn environment(value: &TomlValue<'_>) -> ParseResult<StringMap> {
    table(value, "a table of variables, as in { LEVEL = \"debug\" }", |name, value| {
        if !is_variable(name) {
            return invalid("is no name of an environment variable: it takes letters, digits and \"_\"");
        }
        Ok((name.to_owned(), any_string(value)?))
    })
}

/// Parses HTTP headers, with names in lower case; refuses those that carry a credential.
pub(crate) fn headers(value: &TomlValue<'_>) -> ParseResult<StringMap> {
    table(value, "a table of headers, as in { x-client = \"desktop\" }", |name, value| {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return invalid("is no name of an HTTP header, as in x-client");
        };
        if SECRET_HEADERS.contains(&name.as_str()) {
            return invalid(format!("would put a secret into a file: {}", secret_advice(name.as_str())));
        }
        let text = string(value, "a string")?;
        if HeaderValue::from_str(text).is_err() {
            return invalid("must be printable ASCII");
        }
        Ok((name.as_str().to_owned(), text.to_owned()))
    })
}

/// Parses HTTP headers, with names in lower case, and for each the environment variable that holds its value.
pub(crate) fn headers_env(value: &TomlValue<'_>) -> ParseResult<StringMap> {
    let expected =
        "a table of headers and names of environment variables, as in { x-api-key = \"BACKEND_KEY\" }";
    table(value, expected, |name, value| {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return invalid("is no name of an HTTP header, as in x-api-key");
        };
        if name == PROXY_AUTHORIZATION {
            return invalid(format!("is not the backend's to see: {}", secret_advice(name.as_str())));
        }
        match variable_or_empty(value)?.as_str() {
            "" => invalid("must name an environment variable, as in \"BACKEND_KEY\""),
            variable => Ok((name.as_str().to_owned(), variable.to_owned())),
        }
    })
}

/// Names the right place for the secret of a header.
fn secret_advice(header: &str) -> &'static str {
    match header {
        "authorization" => {
            "put a token in an environment variable and name that in \"token_env\", anything else in \"headers_env\""
        }
        "proxy-authorization" => {
            "put the URL of the proxy, with user and password, in an environment variable and name that in \"proxy_env\""
        }
        _ => "put it in an environment variable and name that in \"headers_env\"",
    }
}

/// Parses every item by one rule, or returns every fault.
fn list<T>(
    value: &TomlValue<'_>,
    expected: &str,
    rule: impl Fn(&TomlValue<'_>) -> ParseResult<T>,
) -> ParseResult<Vec<T>> {
    let Some(items) = value.get_ref().as_array() else {
        return mismatch(expected, value);
    };
    if items.len() > ITEMS_MAX {
        return invalid(format!("must not have more than {ITEMS_MAX} items"));
    }
    let mut read = Vec::new();
    let mut faults = Vec::new();
    for (index, value) in items.iter().enumerate() {
        match rule(value) {
            Ok(value) => read.push(value),
            Err(wrong) => faults.extend(report(wrong, &index_step(index), value.span().start)),
        }
    }
    if faults.is_empty() { Ok(read) } else { Err(faults) }
}

/// Parses every pair by one rule, which says how the key is stored, or returns every fault.
fn table(
    value: &TomlValue<'_>,
    expected: &str,
    rule: impl Fn(&str, &TomlValue<'_>) -> ParseResult<(String, String)>,
) -> ParseResult<StringMap> {
    let Some(pairs) = value.get_ref().as_table() else {
        return mismatch(expected, value);
    };
    if pairs.len() > ITEMS_MAX {
        return invalid(format!("must not have more than {ITEMS_MAX} keys"));
    }
    let mut read = StringMap::new();
    let mut faults = Vec::new();
    for (key, value) in pairs {
        let name: &str = key.get_ref();
        match rule(name, value) {
            Ok((name, _)) if read.contains_key(&name) => {
                let again = vec![ConfigFault::new("is there twice: capitals make no difference here")];
                faults.extend(report(again, &key_step(&name), key.span().start));
            }
            Ok((name, text)) => {
                read.insert(name, text);
            }
            Err(wrong) => faults.extend(report(wrong, &key_step(name), key.span().start)),
        }
    }
    if faults.is_empty() { Ok(read) } else { Err(faults) }
}

fn report(faults: Vec<ConfigFault>, step: &str, at: usize) -> impl Iterator<Item = ConfigFault> {
    faults.into_iter().map(move |fault| fault.within(step, at))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::config::parser::tests::{check_errors, read};

    fn pairs(pairs: &[(&str, &str)]) -> StringMap {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn lists_and_tables_read_item_by_item() {
        assert_eq!(read("[\"~/a\", \"/b\"]", folders), Ok(vec![PathBuf::from("~/a"), PathBuf::from("/b")]));
        assert_eq!(read("[]", command), Ok(vec![]));
        let names = ["chat.v2", "Chat.v2"].map(ToOwned::to_owned).to_vec();
        assert_eq!(read("[\"chat.v2\", \"Chat.v2\"]", subprotocols), Ok(names));
        assert_eq!(read("[\"a\", \"\"]", command), Ok(vec!["a".to_owned(), String::new()]));
        assert_eq!(read("{ A = \"1\", _b2 = \"\" }", environment), Ok(pairs(&[("A", "1"), ("_b2", "")])));
        assert_eq!(read("{ X-Client = \"a b\" }", headers), Ok(pairs(&[("x-client", "a b")])));
    }

    #[test]
    fn every_bad_item_is_reported_by_its_place() {
        expect![[r#"
            "k[1]" must be a string with a folder, not an integer
            "k[2]" must not be empty
            "k[3]" must be absolute, or begin with "~/", as in "~/notes"
            "k[4]" must be absolute, or begin with "~/", as in "~/notes""#]]
        .assert_eq(&read("[\"/a\", 1, \"\", \"b\", \"~me/b\"]", folders).unwrap_err());
        expect![[r#"
            "k.A" must be a string, not an integer
            "k.b-c" is no name of an environment variable: it takes letters, digits and "_""#]]
        .assert_eq(&read("{ A = 1, b-c = \"x\" }", environment).unwrap_err());
        expect![[r#"
            "k[0]" must be a token of HTTP: letters, digits and any of !#$%&'*+-.^_`|~
            "k[2]" must be a string with a subprotocol, not an integer"#]]
        .assert_eq(&read("[\"a, b\", \"c\", 1]", subprotocols).unwrap_err());
        let twice = read("[\"a\", \"a\"]", subprotocols).unwrap_err();
        assert_eq!(twice, "\"k\" must not name a subprotocol twice");
    }

    #[test]
    fn credential_header_is_refused_without_its_value() {
        let toml =
            "{ Authorization = \"hush\", cookie = \"hush\", \"X-API-Key\" = \"hush\", x-client = \"ok\" }";
        let refusal = read(toml, headers).unwrap_err();
        assert!(!refusal.contains("hush"));
        expect![[r#"
            "k.Authorization" would put a secret into a file: put a token in an environment variable and name that in "token_env", anything else in "headers_env"
            "k.X-API-Key" would put a secret into a file: put it in an environment variable and name that in "headers_env"
            "k.cookie" would put a secret into a file: put it in an environment variable and name that in "headers_env""#]]
        .assert_eq(&refusal);
    }

    #[test]
    fn headers_env_takes_variable_names_and_never_secrets() {
        assert_eq!(read("{ X-Api-Key = \"KEY\" }", headers_env), Ok(pairs(&[("x-api-key", "KEY")])));
        let toml = "{ \"a b\" = \"KEY\", x-a = \"sk-hush\", x-b = \"\", \
                    proxy-authorization = \"KEY\", X-C = \"K\", x-c = \"K\" }";
        let refusal = read(toml, headers_env).unwrap_err();
        assert!(!refusal.contains("hush"));
        expect![[r#"
            "k.a b" is no name of an HTTP header, as in x-api-key
            "k.proxy-authorization" is not the backend's to see: put the URL of the proxy, with user and password, in an environment variable and name that in "proxy_env"
            "k.x-a" must be the name of an environment variable (letters, digits and "_"), not the secret itself
            "k.x-b" must name an environment variable, as in "BACKEND_KEY"
            "k.x-c" is there twice: capitals make no difference here"#]].assert_eq(&refusal);
    }

    #[test]
    fn header_that_http_cannot_carry_is_refused() {
        check_errors(
            &expect![[r#"
            { "a b" = "x" }          "k.a b" is no name of an HTTP header, as in x-client
            { "" = "x" }             "k." is no name of an HTTP header, as in x-client
            { x-a = "é\n" }          "k.x-a" must be printable ASCII
            { x-a = 1 }              "k.x-a" must be a string, not an integer
            { X-A = "", x-a = "" }   "k.x-a" is there twice: capitals make no difference here
            ["x-a"]                  "k" must be a table of headers, as in { x-client = "desktop" }, not a list
        "#]],
            headers,
        );
    }

    #[test]
    fn command_begins_with_a_program() {
        assert_eq!(read("[\"\"]", command), Err("\"k\" must begin with the name of a program".to_owned()));
        assert!(read("\"planner --stdio\"", command).unwrap_err().contains("a list with a program"));
    }

    #[test]
    fn lists_and_tables_have_a_limit() {
        let list = format!("[{}]", "\"a\",".repeat(ITEMS_MAX + 1));
        assert_eq!(read(&list, command), Err("\"k\" must not have more than 256 items".to_owned()));
        let keys: String = (0..=ITEMS_MAX).map(|index| format!("x{index} = \"\", ")).collect();
        let refusal = read(&format!("{{ {keys} }}"), headers);
        assert_eq!(refusal, Err("\"k\" must not have more than 256 keys".to_owned()));
    }
}
