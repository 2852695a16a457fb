//! Reads and keeps JSON as others wrote it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json_text::{DEPTH_MAX, is_too_deep, without_bom};

/// The length above which a text is not repeated with quotes.
const BARE_TEXT_BYTES_MAX: usize = 64;

/// Parses JSON of another program, which may begin with a byte order mark.
///
/// # Errors
/// The text is not JSON, or does not fit `T`.
pub fn parse_json<'a, T: Deserialize<'a>>(text: &'a (impl AsRef<[u8]> + ?Sized)) -> serde_json::Result<T> {
    serde_json::from_slice(without_bom(text.as_ref()))
}

/// Says where and why a text is not JSON, as the rest of a sentence that begins with its name.
#[must_use]
pub fn explain_syntax(text: &(impl AsRef<[u8]> + ?Sized), error: &serde_json::Error) -> String {
    let text = String::from_utf8_lossy(without_bom(text.as_ref()));
    let cause = error.to_string();
    let cause = cause.rsplit_once(" at line ").map_or(cause.as_str(), |(cause, _)| cause);
    let why = match cause {
        _ if is_bare_text(&text) => format!("a text needs quotes, as in {:?}", text.trim()),
        _ if error.is_eof() && text.trim().is_empty() => "it is empty".to_owned(),
        _ if error.is_eof() => "it ends too early".to_owned(),
        "expected value" | "expected ident" => {
            "a value is missing, a comma is too many, or a text has no quotes".to_owned()
        }
        "expected `,` or `}`" | "expected `,` or `]`" => "a comma or a bracket is missing".to_owned(),
        "expected `:`" => "a colon is missing after a name".to_owned(),
        "key must be a string" => "a name needs double quotes".to_owned(),
        "trailing characters" => "there is more text after the value".to_owned(),
        "invalid number" => "a number is incomplete, or begins with a zero".to_owned(),
        "invalid escape" => "a text has a backslash before a character that cannot follow one".to_owned(),
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "a text has a line break or another control character, which is written as in \\n".to_owned()
        }
        cause => cause.to_owned(),
    };
    format!("is not JSON at line {}, column {}: {why}", error.line(), error.column())
}

/// Returns whether a text is likely a plain word or sentence.
fn is_bare_text(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(char::is_alphabetic) && text.len() <= BARE_TEXT_BYTES_MAX && !text.contains(['"', '\n'])
}

/// A value of JSON as it was written: numbers of any size and form, repeated members, and their order pass on unchanged.
///
/// It is valid JSON by construction. Cheap to clone. Equal values have the same text.
#[derive(Clone)]
#[cfg_attr(
    feature = "typescript",
    derive(ts_rs::TS),
    ts(type = "null | boolean | number | string | Array<Json> | { [name: string]: Json }")
)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// Checks that `text` is one value of JSON, and keeps it as it is, apart from a byte order mark and white space
    /// around it.
    ///
    /// A number may be larger than any float, as in `1e999`, and a text may have half of a surrogate pair, as in
    /// `"\ud800"`: JSON allows both. A reader may not: it takes the number for infinite, replaces the half, or fails.
    ///
    /// # Errors
    /// The text is not JSON, or has more than 127 levels of arrays and objects.
    pub fn parse(text: &(impl AsRef<[u8]> + ?Sized)) -> serde_json::Result<Self> {
        let value: &RawValue = parse_json(text)?;
        if is_too_deep(value.get()) {
            return Err(serde_json::Error::custom(format_args!("it has more than {DEPTH_MAX} levels")));
        }
        Ok(Self(value.to_owned().into()))
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
    /// The value does not fit `T`, as `1e999` and half of a surrogate pair do not fit a [`Value`].
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
        self.read::<Value>().is_ok_and(|value| value == *other)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    /// Sets no limit to the levels: the value may be a part of a larger one of ours.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(deserializer)?.into()))
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

/// The members of an object, each as it was written. Of several with the same name, the last counts.
#[derive(Debug)]
pub struct Members<'a>(Vec<Member<'a>>);

#[derive(Debug)]
struct Member<'a> {
    name: Cow<'a, str>,
    /// The name in its quotes.
    key: &'a RawValue,
    value: &'a RawValue,
}

impl<'a> Members<'a> {
    /// Reads the members of an object.
    ///
    /// # Errors
    /// The text is no object.
    pub fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Returns the text of a member's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|member| member.name == name).map(|member| member.value.get())
    }

    /// Reads a member; `None` if it is absent or does not fit `T`.
    #[must_use]
    pub fn read<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// Returns the names and values in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|member| (&*member.name, member.value))
    }

    /// Returns an object with these members in their order, each with the value that `value_of` returns for its name and
    /// value. Leaves out those without.
    #[must_use]
    pub fn rebuild(&self, value_of: impl Fn(&str, &'a str) -> Option<&'a str>) -> String {
        let members: Vec<String> = self
            .0
            .iter()
            .filter_map(|Member { name, key, value }| Some(format!("{key}:{}", value_of(name, value.get())?)))
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push(Member { name: name_of(key).map_err(A::Error::custom)?, key, value });
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Returns the name that a key stands for.
fn name_of(key: &RawValue) -> serde_json::Result<Cow<'_, str>> {
    let inner = key.get().strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
    if inner.contains('\\') {
        return serde_json::from_str(key.get()).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(inner))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_keeps_numbers_and_order_as_written() {
        let deep = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
        for text in [
            "12345678901234567890123",
            "18446744073709551616",
            "1E2",
            "1e999",
            "-1e-999",
            r#"{"b":1.10,"a":-0.0,"a":1.0}"#,
            r#""\u0041\ud83d\ude00""#,
            r#"{"\udc00":"\ud800 alone"}"#,
            &deep,
        ] {
            let value = Json::parse(text).unwrap();
            assert_eq!(value.as_str(), text);
            assert_eq!(serde_json::to_string(&[&value]).unwrap(), format!("[{text}]"));
            let read: Json = serde_json::from_str(text).unwrap();
            assert_eq!(read, value);
        }
    }

    #[test]
    fn syntax_is_explained_in_plain_words_with_its_place() {
        for (text, expected) in [
            ("nojson", "at line 1, column 2: a text needs quotes, as in \"nojson\""),
            ("hello there", "at line 1, column 1: a text needs quotes, as in \"hello there\""),
            ("", "at line 1, column 0: it is empty"),
            ("{\"a\":\n1", "at line 2, column 1: it ends too early"),
            ("[1 2]", "at line 1, column 4: a comma or a bracket is missing"),
            ("{\"a\" 1}", "at line 1, column 6: a colon is missing after a name"),
            ("{a: 1}", "at line 1, column 2: a name needs double quotes"),
            ("[1,]", "at line 1, column 4: a value is missing, a comma is too many, or a text has no quotes"),
            ("{} x", "at line 1, column 4: there is more text after the value"),
            ("-", "at line 1, column 1: a number is incomplete, or begins with a zero"),
            ("[1, 02]", "at line 1, column 6: a number is incomplete, or begins with a zero"),
            (
                r#""\d""#,
                "at line 1, column 3: a text has a backslash before a character that cannot follow one",
            ),
            (
                "\"a\nb\"",
                "at line 1, column 2: a text has a line break or another control character, which is written as in \\n",
            ),
            (
                "{\"a\": x}",
                "at line 1, column 7: a value is missing, a comma is too many, or a text has no quotes",
            ),
        ] {
            let error = Json::parse(text).unwrap_err();
            assert_eq!(explain_syntax(text, &error), format!("is not JSON {expected}"), "{text}");
        }
    }

    #[test]
    fn json_text_that_is_not_json_is_refused() {
        let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
        for text in ["", "nul", "{\"a\":}", "1 2", "\"\\ud80\"", "NaN", "1e", "01", "Infinity", &deep] {
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

    #[test]
    fn number_beyond_a_tree_is_no_tree_and_equals_none() {
        let value = Json::parse("[1e999]").unwrap();
        assert!(value.read::<Value>().is_err());
        assert_ne!(value, json!([null]));
        assert_eq!(value.to_pretty(), "[\n  1e999\n]");
    }

    #[test]
    fn members_are_kept_as_written_and_the_last_counts() {
        let text = r#" {"a" : 1.0, "\u0062":[1e999 ], "a":-0.0,"c":"x"} "#;
        let members = Members::parse(text).unwrap();
        assert_eq!(
            (members.get("a"), members.get("b"), members.get("d")),
            (Some("-0.0"), Some("[1e999 ]"), None)
        );
        assert_eq!((members.read::<String>("c").as_deref(), members.read::<u8>("c")), (Some("x"), None));
        assert_eq!(members.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "a", "c"]);
        let rebuilt = members.rebuild(|name, value| match name {
            "c" => None,
            "b" => Some("true"),
            _ => Some(value),
        });
        assert_eq!(rebuilt, r#"{"a":1.0,"\u0062":true,"a":-0.0}"#);
        for text in ["", "[]", "7", "{\"a\"}", "{\"a\":1} 2", "{a:1}"] {
            assert!(Members::parse(text).is_err(), "{text}");
        }
    }
}
