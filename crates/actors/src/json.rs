//! Reads and keeps JSON as others wrote it.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The byte order mark of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns the text without the byte order mark that it may begin with. RFC 8259 (8.1) forbids to write one and allows
/// to ignore it; some editors and shells write it all the same.
#[must_use]
pub(crate) fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Parses JSON of another program, which may begin with a byte order mark.
///
/// # Errors
/// The text is not JSON, or does not fit `T`.
pub fn parse_json<'a, T: Deserialize<'a>>(text: &'a (impl AsRef<[u8]> + ?Sized)) -> serde_json::Result<T> {
    serde_json::from_slice(without_bom(text.as_ref()))
}

/// A value of JSON as it was written: numbers of any size and form, and the order of members, pass on unchanged.
///
/// It is valid JSON by construction. Cheap to clone. Equal values have the same text.
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// Checks that `text` is one value of JSON, and keeps it as it is, apart from a byte order mark and white space
    /// around it.
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn parse(text: &(impl AsRef<[u8]> + ?Sized)) -> serde_json::Result<Self> {
        Self::from_raw(parse_json(text)?)
    }

    /// Checks that a reader can follow the value: of a raw one, serde checks only the form. Its texts must be Unicode,
    /// its numbers must have a nearest float, and its depth has a limit.
    fn from_raw(value: Box<RawValue>) -> serde_json::Result<Self> {
        parse_json::<Value>(value.get())?;
        Ok(Self(value.into()))
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// JSON cannot hold the value: a map's key is no text.
    pub fn from_serialize(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Self> {
        Ok(Self(serde_json::value::to_raw_value(value)?.into()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads the value as `T`. A [`Value`] has the nearest number of those that it can hold.
    ///
    /// # Errors
    /// The value does not fit `T`.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.as_str())
    }

    /// Returns the text over several lines, indented by two spaces.
    #[must_use]
    pub fn to_pretty(&self) -> String {
        let mut pretty = String::with_capacity(self.as_str().len() * 2);
        let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
        let line_break = |depth: usize| format!("\n{}", "  ".repeat(depth));
        let mut rest = self.as_str().chars();
        while let Some(char) = rest.next() {
            if in_text {
                pretty.push(char);
                in_text = char != '"' || is_escaped;
                is_escaped = char == '\\' && !is_escaped;
                continue;
            }
            match char {
                '{' | '[' => {
                    pretty.push(char);
                    let inner = rest.as_str().trim_start();
                    if let Some(end) = inner.chars().next().filter(|next| matches!(next, '}' | ']')) {
                        pretty.push(end);
                        rest = inner[1..].chars();
                    } else {
                        depth += 1;
                        pretty.push_str(&line_break(depth));
                    }
                }
                '}' | ']' => {
                    depth = depth.saturating_sub(1);
                    pretty.push_str(&line_break(depth));
                    pretty.push(char);
                }
                ',' => {
                    pretty.push(',');
                    pretty.push_str(&line_break(depth));
                }
                ':' => pretty.push_str(": "),
                ' ' | '\n' | '\r' | '\t' => {}
                char => {
                    in_text = char == '"';
                    pretty.push(char);
                }
            }
        }
        pretty
    }

    /// Returns the value as a tree.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // The text was checked when this was made.
        self.read().unwrap_or_default()
    }

    /// Deserializes a value where serde keeps no text, as beside a tag. A number is then the nearest that
    /// [`Value`] can hold.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(Value::deserialize(deserializer)?))
    }
}

impl Default for Json {
    /// Returns `null`.
    fn default() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        // All keys of a tree are text, so this cannot fail.
        Self::from_serialize(value).unwrap_or_default()
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl PartialEq<Value> for Json {
    /// Compares as trees, whatever the order of members and the white space.
    fn eq(&self, other: &Value) -> bool {
        self.to_value() == *other
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_raw(Box::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_keeps_numbers_and_order_as_written() {
        for text in ["12345678901234567890123", "1E2", r#"{"b":1.10,"a":-0.0}"#, "\"\\u0041\""] {
            let value = Json::parse(text).unwrap();
            assert_eq!(value.as_str(), text);
            assert_eq!(serde_json::to_string(&[&value]).unwrap(), format!("[{text}]"));
            let read: Json = serde_json::from_str(text).unwrap();
            assert_eq!(read, value);
        }
    }

    #[test]
    fn json_text_that_is_not_json_is_refused() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        for text in ["", "nul", "{\"a\":}", "1 2", "\"\\ud800\"", "NaN", "1e999", &deep] {
            assert!(Json::parse(text).is_err(), "{text:.20}");
        }
        assert!(Json::parse(&b"\"\xff\""[..]).is_err());
    }

    #[test]
    fn pretty_json_is_that_of_serde_json_with_numbers_as_written() {
        for text in
            [r#"{"a" : [1,{"b":"x\\\",[:{ "},[ ],{ }],"c":{}}"#, "7", "\"{\"", "[]", " [ true , null ] "]
        {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(Json::parse(text).unwrap().to_pretty(), format!("{value:#}"), "{text}");
        }
        assert_eq!(Json::parse("[1E2]").unwrap().to_pretty(), "[\n  1E2\n]");
    }

    #[test]
    fn byte_order_mark_is_removed_once() {
        assert_eq!(parse_json::<u8>("\u{feff}7").unwrap(), 7);
        assert_eq!(Json::parse("\u{feff} {} ").unwrap().as_str(), "{}");
        assert!(parse_json::<u8>("\u{feff}\u{feff}7").is_err());
        assert_eq!(without_bom(b"\xef\xbb"), b"\xef\xbb");
    }

    #[test]
    fn json_equals_a_tree_whatever_its_spaces() {
        assert_eq!(Json::parse(r#"{"b" : 1, "a":[ ] }"#).unwrap(), json!({"a": [], "b": 1}));
        assert_eq!(Json::default(), Value::Null);
    }
}
