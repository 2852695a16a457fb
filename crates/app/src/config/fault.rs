//! A fault of a file: the path of its key, which each enclosing table extends, and a place in the text.

use crate::suggestion::hint;

/// The longest part of a key that is repeated, in characters.
const STEP_CHARACTERS_MAX: usize = 64;

/// The fault of a value or a key. The place that reads the value knows neither its position nor its name, so each
/// enclosing table and list adds its part with [`ConfigFault::within`].
///
/// It may hold keys, but never the text of a value: that may be a secret in the wrong place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConfigFault {
    /// Comes before the key in the message.
    prefix: &'static str,
    /// The path as far as it is known: `.name` and `[index]` steps.
    path: String,
    /// Comes after the key in the message.
    predicate: String,
    /// The byte in the text, once known.
    at: Option<usize>,
}

impl ConfigFault {
    /// Makes the fault of a wrong value. `predicate` follows the key: `must be …`.
    pub(crate) fn new(predicate: impl AsRef<str>) -> Self {
        Self { prefix: "", path: String::new(), predicate: format!(" {}", predicate.as_ref()), at: None }
    }

    /// Makes the fault of a value of the wrong type. `expected` names the right one, `kind` the present one.
    pub(crate) fn wrong_type(expected: &str, kind: &str) -> Self {
        Self::new(format!("must be {expected}, not {kind}"))
    }

    /// Makes the fault of an unknown key. `known` are the keys that the table may have.
    pub(crate) fn unknown(key: &str, known: &[&str], at: usize) -> Self {
        let rest = format!("; {}", hint(key, known));
        Self { prefix: "unknown key ", path: key_step(key), predicate: rest, at: Some(at) }
    }

    /// Returns the same fault as seen from the table or list above, where `step` (see [`member`] and [`item`]) stands
    /// at byte `at`. The innermost place wins.
    pub(crate) fn within(mut self, step: &str, at: usize) -> Self {
        self.path.insert_str(0, step);
        self.at.get_or_insert(at);
        self
    }

    /// Returns the byte of the text at which it is reported.
    pub(crate) fn offset(&self) -> usize {
        self.at.unwrap_or(0)
    }

    /// Returns the path of the key, such as `connection.delay_min`.
    pub(crate) fn key(&self) -> String {
        self.path.strip_prefix('.').unwrap_or(&self.path).to_owned()
    }

    /// Returns the whole message, on one line.
    pub(crate) fn message(&self) -> String {
        format!("{}\"{}\"{}", self.prefix, self.key(), self.predicate)
    }
}

/// Returns the step to a table's key: short and on one line, whatever the key holds.
pub(crate) fn key_step(key: &str) -> String {
    let shown: String = key.chars().take(STEP_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    let cut = if key.chars().nth(STEP_CHARACTERS_MAX).is_some() { "…" } else { "" };
    format!(".{shown}{cut}")
}

/// Returns the step to a list's item, counted from 0.
pub(crate) fn index_step(index: usize) -> String {
    format!("[{index}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_grows_outwards_and_innermost_offset_is_kept() {
        let fault = ConfigFault::new("is odd")
            .within(&index_step(2), 30)
            .within(&key_step("command"), 20)
            .within(".agent", 10);
        assert_eq!(fault.message(), "\"agent.command[2]\" is odd");
        assert_eq!(fault.offset(), 30);
    }

    #[test]
    fn strange_key_stays_short_and_on_one_line() {
        let message =
            ConfigFault::unknown(&format!("a\nb\u{1b}\"{}", "x".repeat(5_000)), &["ttl"], 0).message();
        assert!(message.starts_with("unknown key \"a\\nb\\u{1b}\\\"xxx"), "{message}");
        assert!(message.len() < 200 && message.contains('…'), "{message}");
    }
}
