//! The rules between the keys of `[backend]`.

use toml::de::DeTable;

use super::fault::{ConfigFault, key_step};
use super::parser::TomlValue;

/// The keys that name a source of the token.
const TOKEN_KEYS: [&str; 3] = ["token_env", "token_file", "token_command"];

/// Returns the faults of headers, of a token and of a proxy that are set twice.
pub(crate) fn find_faults(document: &DeTable<'_>) -> Vec<ConfigFault> {
    let Some(backend) = document.get("backend").and_then(|backend| backend.get_ref().as_table()) else {
        return Vec::new();
    };
    let text =
        |key| backend.get(key).and_then(|value: &TomlValue<'_>| value.get_ref().as_str()).unwrap_or_default();
    let is_set = |key: &&'static str| {
        let is_list = |value: &TomlValue<'_>| value.get_ref().as_array().is_some_and(|list| !list.is_empty());
        !text(*key).is_empty() || backend.get(*key).is_some_and(is_list)
    };
    let mut faults = Vec::new();
    let token_keys: Vec<&str> = TOKEN_KEYS.into_iter().filter(is_set).collect();
    if let [first, .., last] = token_keys[..]
        && let Some(value) = backend.get(last)
    {
        let predicate = format!("names a source of the token, and \"{first}\" names one as well: keep one");
        faults.push(ConfigFault::new(predicate).within(&key_step(last), value.span().start));
    }
    for (name, at) in headers(backend, "headers_env") {
        let predicate = if headers(backend, "headers").any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            "stands in \"headers\" as well: keep one of the two".to_owned()
        } else if let (true, Some(key)) = (name.eq_ignore_ascii_case("authorization"), token_keys.first()) {
            format!("is what \"{key}\" sets as well: keep one of the two")
        } else {
            continue;
        };
        faults.push(
            ConfigFault::new(predicate).within(&key_step(name), at).within(&key_step("headers_env"), at),
        );
    }
    if let Some(value) = backend.get("proxy_env")
        && !text("proxy_env").is_empty()
        && !matches!(text("proxy"), "" | "system")
    {
        let predicate = "names a proxy, and \"proxy\" is set as well: keep one of the two";
        faults.push(ConfigFault::new(predicate).within(&key_step("proxy_env"), value.span().start));
    }
    faults.into_iter().map(|fault| fault.within(&key_step("backend"), 0)).collect()
}

fn headers<'t>(backend: &'t DeTable<'_>, key: &str) -> impl Iterator<Item = (&'t str, usize)> {
    let table = backend.get(key).and_then(|value| value.get_ref().as_table());
    table.into_iter().flat_map(|table| table.keys()).map(|key| (key.get_ref().as_ref(), key.span().start))
}
