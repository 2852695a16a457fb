//! The parts of sentences that events share.

use std::fmt::{Display, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// Returns the word that stands for `value` in a record, such as `start_failed`.
#[must_use]
pub fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Returns a number of things: `1 message`, `2 messages`, `2 crashes`.
#[must_use]
pub fn count(number: impl Display, thing: &str) -> String {
    let number = number.to_string();
    let ending = match thing.ends_with("sh") {
        _ if number == "1" => "",
        true => "es",
        false => "s",
    };
    format!("{number} {thing}{ending}")
}

/// Returns a number of milliseconds as a person reads it: `500 ms`, `1.5 s`.
#[must_use]
pub fn millis_text(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        _ => format!("{:.1} s", Duration::from_millis(ms).as_secs_f64()),
    }
}

/// Escapes the characters that could drive a terminal, break a line or turn the direction of a text.
#[must_use]
pub fn escape_controls(text: &str) -> String {
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_text_is_kept() {
        assert_eq!(escape_controls("läuft\n\u{1b}[2J\u{202e}x"), "läuft\\n\\u{1b}[2J\\u{202e}x");
    }

    #[test]
    fn counts_have_their_plural() {
        let counts = [count(1, "crash"), count(2, "crash"), count(0, "message"), count(1, "message")];
        assert_eq!(counts, ["1 crash", "2 crashes", "0 messages", "1 message"]);
    }

    #[test]
    fn durations_are_in_milliseconds_or_seconds() {
        assert_eq!([0, 999, 1000, 90_000].map(millis_text), ["0 ms", "999 ms", "1.0 s", "90.0 s"]);
    }
}
