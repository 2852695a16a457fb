//! The rules between the keys of `[backend]`.

use toml::de::DeTable;

use super::fault::{ConfigFault, key_step};
use super::parser::TomlValue;

/// Returns the faults of headers and of a proxy that are set twice.
pub(crate) fn find_faults(document: &DeTable<'_>) -> Vec<ConfigFault> {
    let Some(backend) = document.get("backend").and_then(|backend| backend.get_ref().as_table()) else {
        return Vec::new();
    };
    let text =
        |key| backend.get(key).and_then(|value: &TomlValue<'_>| value.get_ref().as_str()).unwrap_or_default();
    let mut faults = Vec::new();
    for (name, at) in headers(backend, "headers_env") {
        let predicate = if headers(backend, "headers").any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            "stands in \"headers\" as well: keep one of the two"
        } else if name.eq_ignore_ascii_case("authorization") && !text("token_env").is_empty() {
            "is what \"token_env\" sets as well: keep one of the two"
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
