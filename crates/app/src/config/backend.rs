//! The rules between the keys of `[backend]`.

use toml::de::DeTable;

use super::fault::{ConfigFault, key_step};
use super::parser::TomlValue;
use super::parser::address::URL_AUTO;
use crate::placeholders::names_address;

/// The keys that name a source of the token.
const TOKEN_KEYS: [&str; 3] = ["token_env", "token_file", "token_command"];

/// Returns the faults of headers, of a token and of a proxy that are set twice, and of an address that cannot be
/// assigned.
pub(crate) fn find_faults(document: &DeTable<'_>) -> Vec<ConfigFault> {
    let Some(backend) = document.get("backend").and_then(|backend| backend.get_ref().as_table()) else {
        return Vec::new();
    };
    let text = |key: &str| text_of(backend, key);
    let token_keys = token_keys(backend);
    let mut faults = Vec::new();
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
    faults.extend(assigned_address_fault(backend));
    faults.into_iter().map(|fault| fault.within(&key_step("backend"), 0)).collect()
}

/// Returns the fault of an address that is to be assigned, and cannot be.
fn assigned_address_fault(backend: &DeTable<'_>) -> Option<ConfigFault> {
    let text = |key: &str| text_of(backend, key);
    let at = |key: &str| backend.get(key).map_or(0, |value| value.span().start);
    if text("url") != URL_AUTO {
        return None;
    }
    let fault =
        |key: &str, predicate: &str| Some(ConfigFault::new(predicate).within(&key_step(key), at(key)));
    let command = backend.get("command").and_then(|value| value.get_ref().as_array());
    let Some(command) = command.filter(|command| !command.is_empty()) else {
        return fault(
            "url",
            "is \"auto\" only for a backend that the runtime starts: set \"command\" as well",
        );
    };
    if let Some(key) = token_keys(backend).first() {
        return fault(key, "must be left out with url = \"auto\", which makes a secret for each start");
    }
    let env = backend.get("env").and_then(|value| value.get_ref().as_table());
    let values = env.into_iter().flat_map(|env| env.values());
    let mut texts = command.iter().chain(values).filter_map(|value| value.get_ref().as_str());
    if texts.any(names_address) || text("ready").contains("{url}") {
        return None;
    }
    let predicate = "is \"auto\", and nothing tells the program its port: put {port} or {url} into \"command\" or \"env\", \
                     or let it report its address, as in ready = \"stdout:listening on {url}\"";
    fault("url", predicate)
}

/// Returns the keys that are set and name a source of the token.
fn token_keys(backend: &DeTable<'_>) -> Vec<&'static str> {
    let is_list = |value: &TomlValue<'_>| value.get_ref().as_array().is_some_and(|list| !list.is_empty());
    let is_set = |key: &&str| !text_of(backend, key).is_empty() || backend.get(*key).is_some_and(is_list);
    TOKEN_KEYS.into_iter().filter(is_set).collect()
}

/// Returns the text of a key; empty if there is none.
fn text_of<'t>(backend: &'t DeTable<'_>, key: &str) -> &'t str {
    backend.get(key).and_then(|value: &TomlValue<'_>| value.get_ref().as_str()).unwrap_or_default()
}

fn headers<'t>(backend: &'t DeTable<'_>, key: &str) -> impl Iterator<Item = (&'t str, usize)> {
    let table = backend.get(key).and_then(|value| value.get_ref().as_table());
    table.into_iter().flat_map(|table| table.keys()).map(|key| (key.get_ref().as_ref(), key.span().start))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn problem(keys: &str) -> Option<(String, String)> {
        let error = Config::from_toml(&format!("[backend]\nurl = \"auto\"\n{keys}\n")).err()?;
        let [problem] = &error.problems[..] else { panic!("{error:?}") };
        Some((problem.key.clone(), problem.message.clone()))
    }

    #[test]
    fn address_is_assigned_only_to_a_program_that_learns_it() {
        for keys in [
            "command = [\"api\", \"--port\", \"{port}\"]",
            "command = [\"api\"]\nenv = { BIND = \"{url}\" }",
            "command = [\"api\"]\nready = \"stdout:listening on {url}\"",
        ] {
            assert_eq!(problem(keys), None, "{keys}");
        }
        for (keys, key, words) in [
            ("", "backend.url", "set \"command\" as well"),
            ("command = [\"api\", \"${port}\"]", "backend.url", "nothing tells the program its port"),
            ("command = [\"api\", \"{port}\"]\ntoken_env = \"X\"", "backend.token_env", "must be left out"),
        ] {
            let (found, message) = problem(keys).unwrap();
            assert!(found == key && message.contains(words), "{keys}: {found}: {message}");
        }
    }
}
