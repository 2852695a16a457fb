//! Checks the text of JSON, and repairs it where that needs no guess: what programs write is often not quite UTF-8. Pure.

use std::borrow::Cow;

use serde_json::Value;

/// The most levels of arrays and objects in JSON of others. It is the limit of serde, with which an embedder may read.
pub(crate) const DEPTH_MAX: usize = 127;

/// The byte order mark of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns the text without the byte order mark that it may begin with. RFC 8259 (8.1) forbids to write one and allows
/// to ignore it; some editors and shells write it all the same.
#[must_use]
pub(crate) fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Returns whether valid JSON has more than [`DEPTH_MAX`] levels.
pub(crate) fn is_too_deep(json: &str) -> bool {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    json.bytes().any(|byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'"' => in_text = !in_text,
            b'\\' => is_escaped = true,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH_MAX
    })
}

/// Returns a line of JSON as text, without byte order mark and carriage return. U+FFFD takes the place of each byte
/// sequence that is no UTF-8, and of each escape that is half of a surrogate pair.
#[must_use]
pub(crate) fn repair_line(line: &[u8]) -> Cow<'_, str> {
    let line = without_bom(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match String::from_utf8_lossy(line) {
        Cow::Borrowed(text) => replace_lone_surrogates(text),
        Cow::Owned(text) => Cow::Owned(replace_lone_surrogates(&text).into_owned()),
    }
}

/// Replaces escapes such as `\ud83d` without their other half. A parser refuses the whole text for one of them.
fn replace_lone_surrogates(text: &str) -> Cow<'_, str> {
    let mut repaired = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        let escape = at + found;
        at = match surrogate_at(text, escape) {
            None => {
                // An escaped backslash is no start of an escape.
                let escaped = text[escape + 1..].chars().next().map_or(0, char::len_utf8);
                escape + 1 + escaped
            }
            Some(0xd800..0xdc00) if matches!(surrogate_at(text, escape + 6), Some(0xdc00..)) => escape + 12,
            Some(_) => {
                repaired.push_str(&text[copied..escape]);
                repaired.push_str("\\ufffd");
                copied = escape + 6;
                copied
            }
        };
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    repaired.push_str(&text[copied..]);
    Cow::Owned(repaired)
}

/// Returns the surrogate of which an escape begins at this place.
fn surrogate_at(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    let value = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..0xe000).contains(&value).then_some(value)
}

/// The text of an object that cannot be parsed, or of which only the ends are known.
///
/// Only members before its first nested value and after its last are known to be its own: others may be part of a
/// nested one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BrokenObject<'a> {
    leading: &'a str,
    trailing: &'a str,
}

impl<'a> BrokenObject<'a> {
    /// Takes the ends of a text, or the whole text twice. Returns `None` if it is no object.
    pub(crate) fn from_ends(head: &'a str, tail: &'a str) -> Option<Self> {
        let head = head.trim_start().strip_prefix('{')?;
        let leading = &head[..head.find(['{', '[']).unwrap_or(head.len())];
        // A text that was cut off has no member after its last value.
        let tail = tail.trim_end();
        let trailing =
            tail.strip_suffix('}').map_or("", |inner| &tail[inner.rfind(['}', ']']).unwrap_or(0)..]);
        Some(Self { leading, trailing })
    }

    /// Returns the text from the value of one of its own members on.
    pub(crate) fn value(&self, name: &str) -> Option<&'a str> {
        values_after(self.leading, name).or_else(|| values_after(self.trailing, name))
    }

    /// Returns the value of one of its own members that is a whole number, perhaps in quotes.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let digits = self.value(name)?.trim_start_matches('"');
        // A number at the end of the text may have been cut.
        let end = digits.find(|char: char| !char.is_ascii_digit())?;
        digits[..end].parse().ok()
    }
}

/// Returns the text from the first value of a member on.
fn values_after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let quoted = format!("\"{name}\"");
    text.match_indices(&quoted)
        .find_map(|(at, found)| Some(text[at + found.len()..].trim_start().strip_prefix(':')?.trim_start()))
}

/// Returns a whole number: also one in quotes, or with a fraction of zero.
pub(crate) fn whole_number(value: &Value) -> Option<u64> {
    let in_text = || value.as_str()?.trim().parse().ok();
    // Floating point represents each whole number up to 2^53.
    let in_float = || {
        let float = value.as_f64().filter(|float| float.fract() == 0.0 && (0.0..9e15).contains(float))?;
        format!("{float:.0}").parse().ok()
    };
    value.as_u64().or_else(in_text).or_else(in_float)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn repair_line_makes_text_readable() {
        for (line, expected) in [
            (&b"\xef\xbb\xbf{\"a\":1}\r"[..], json!({"a": 1})),
            (b"\"caf\xe9\"", json!("caf\u{fffd}")),
            (br#""\ud83d alone""#, json!("\u{fffd} alone")),
            (br#""\udc00""#, json!("\u{fffd}")),
            (br#""\ud83d\ud83d\ude00""#, json!("\u{fffd}\u{1f600}")),
            (br#""\ud83d\ude00 \\ud83d \u00e4""#, json!("\u{1f600} \\ud83d \u{e4}")),
            (br#""\ud83d""#, json!("\u{fffd}")),
        ] {
            let text = repair_line(line);
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn broken_object_knows_only_its_own_members() {
        for (text, expected) in [
            (r#"{"id":7,"body":NaN}"#, Some(7)),
            (r#"{ "id" : "7", "body":{"id":8}, "n":NaN}"#, Some(7)),
            (r#"{"body":{"id":8},"n":NaN}"#, None),
            (r#"{"body":{"id":8},"n":NaN,"id":7}"#, Some(7)),
            (r#"{"body":[{"id":8}],"n":NaN,"id":7}"#, Some(7)),
            (r#"{"text":"\"id\":8","n":NaN}"#, None),
            (r#"{"id":7"#, None),
            (r#"{"id":null,"n":NaN}"#, None),
        ] {
            assert_eq!(BrokenObject::from_ends(text, text).unwrap().number("id"), expected, "{text}");
        }
        let ends = BrokenObject::from_ends(r#"{"body":"xx"#, r#"xx","type":"reply"}"#).unwrap();
        assert!(ends.value("type").unwrap().starts_with("\"reply\""));
        for text in ["", "[1]", "a {\"id\":7}"] {
            assert!(BrokenObject::from_ends(text, text).is_none(), "{text}");
        }
    }

    #[test]
    fn whole_number_is_read_in_each_form() {
        for (value, expected) in [
            (json!(7), Some(7)),
            (json!("7"), Some(7)),
            (json!(7.0), Some(7)),
            (json!(u64::MAX), Some(u64::MAX)),
            (json!(7.5), None),
            (json!(-7), None),
            (json!(1e300), None),
            (json!("seven"), None),
            (json!(null), None),
        ] {
            assert_eq!(whole_number(&value), expected, "{value}");
        }
    }

    #[test]
    fn depth_has_a_limit_outside_of_texts() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(!is_too_deep(&nested(DEPTH_MAX)) && is_too_deep(&nested(DEPTH_MAX + 1)));
        assert!(serde_json::from_str::<Value>(&nested(DEPTH_MAX)).is_ok());
        assert!(serde_json::from_str::<Value>(&nested(DEPTH_MAX + 1)).is_err());
        assert!(!is_too_deep(&format!("[{}0]", "[],".repeat(DEPTH_MAX))));
        assert!(!is_too_deep(&format!(r#""\"{}""#, "[".repeat(DEPTH_MAX + 1))));
        assert!(is_too_deep(&format!(r#"["\\",{}]"#, nested(DEPTH_MAX))));
    }

    #[test]
    fn repair_line_leaves_sound_text_alone() {
        for line in ["", "\\", "\"\\u00e4\\\\\"", "\\u", "\\ud8", "[1]", "\\ud83d\\ude00", "\\ä", "x\u{feff}"]
        {
            assert!(matches!(repair_line(line.as_bytes()), Cow::Borrowed(text) if text == line), "{line}");
        }
    }
}
