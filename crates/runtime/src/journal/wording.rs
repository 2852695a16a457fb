//! The parts of sentences that events share.

use std::fmt::{Display, Write};

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

/// Returns a number of milliseconds as a person reads it: `500 ms`, `1.5 s`, `10 min 33 s`, `2 h 5 min`, `3 days 4 h`.
#[must_use]
pub fn millis_text(ms: u64) -> String {
    let (tenths, seconds) = (ms.saturating_add(50) / 100, ms / 1000);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let with_rest = |text: String, rest: u64, unit: &str| match rest {
        0 => text,
        _ => format!("{text} {rest} {unit}"),
    };
    match (ms, tenths) {
        (0..1000, _) => format!("{ms} ms"),
        (_, 0..600) if tenths % 10 == 0 => format!("{} s", tenths / 10),
        (_, 0..600) => format!("{}.{} s", tenths / 10, tenths % 10),
        _ if minutes == 0 => "1 min".to_owned(),
        _ if hours == 0 => with_rest(format!("{minutes} min"), seconds % 60, "s"),
        _ if hours < 48 => with_rest(format!("{hours} h"), minutes % 60, "min"),
        _ => with_rest(format!("{} days", hours / 24), hours % 24, "h"),
    }
}

/// Escapes the characters that could drive a terminal, break a line or turn the direction of a text.
#[must_use]
pub fn escape_controls(text: &str) -> String {
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

/// Escapes, in JSON, the characters that JSON allows and [`escape_controls`] does not. A carriage return becomes a space.
/// The value stays the same.
#[must_use]
pub fn escape_json_controls(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        // What else of ASCII is a control character stands between the values, as a line feed does.
        if is_unsafe(c) && (c == '\u{7f}' || !c.is_ascii()) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else if c == '\r' {
            escaped.push(' ');
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_text_is_kept() {
        assert_eq!(escape_controls("läuft\n\u{1b}[2J\u{202e}x"), "läuft\\n\\u{1b}[2J\\u{202e}x");
    }

    #[test]
    fn escaped_json_keeps_its_value() {
        let json = "{\r\n  \"ä\u{9b}\": \"\u{7f}\u{202e}\\u001b\"\n}";
        let escaped = escape_json_controls(json);
        assert_eq!(escaped, "{ \n  \"ä\\u009b\": \"\\u007f\\u202e\\u001b\"\n}");
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(parse(&escaped), parse(json));
    }

    #[test]
    fn counts_have_their_plural() {
        let counts = [count(1, "crash"), count(2, "crash"), count(0, "message"), count(1, "message")];
        assert_eq!(counts, ["1 crash", "2 crashes", "0 messages", "1 message"]);
    }

    #[test]
    fn durations_have_at_most_two_units() {
        let short = [0, 999, 1000, 1540, 59_940, 59_960, 60_000, 90_000, 633_000].map(millis_text);
        let shown =
            ["0 ms", "999 ms", "1 s", "1.5 s", "59.9 s", "1 min", "1 min", "1 min 30 s", "10 min 33 s"];
        assert_eq!(short, shown);
        let long = [3_600_000, 7_530_000, 172_799_000, 172_800_000, 273_600_000].map(millis_text);
        assert_eq!(long, ["1 h", "2 h 5 min", "47 h 59 min", "2 days", "3 days 4 h"]);
        assert_eq!(millis_text(u64::MAX), "213503982334 days 14 h");
    }
}
