//! A field whose value differs from the expected one.

use serde::Serialize;
use serde_json::Value;

/// A field whose value differs from the expected one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mismatch {
    pub(super) field: String,
    pub(super) stated: Value,
    pub(super) expected: Value,
    pub(super) message: String,
}

impl Mismatch {
    pub(super) fn new(field: &str, stated: Value, expected: Value, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), stated, expected, message: message.into() }
    }

    /// Returns the difference between `stated` and `expected`, named down to the first member that differs.
    pub(super) fn between(
        field: &str,
        stated: &Value,
        expected: &Value,
        message: impl FnOnce() -> String,
    ) -> Option<Self> {
        let (field, stated, expected) = first_difference(field, stated, expected)?;
        Some(Self { field, stated, expected, message: message() })
    }
}

/// Converts a value to JSON. A value that JSON cannot hold, such as a number that is not finite, becomes null.
pub(super) fn to_json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Returns the first member at or below `field` that differs, with its two values.
fn first_difference(field: &str, stated: &Value, expected: &Value) -> Option<(String, Value, Value)> {
    if stated == expected {
        return None;
    }
    let below = match (stated, expected) {
        (Value::Object(stated), Value::Object(expected)) => {
            let names = stated.keys().chain(expected.keys());
            names.into_iter().find_map(|name| {
                let of = |object: &serde_json::Map<_, _>| object.get(name).cloned().unwrap_or_default();
                first_difference(&format!("{field}.{name}"), &of(stated), &of(expected))
            })
        }
        (Value::Array(stated), Value::Array(expected)) if stated.len() == expected.len() => {
            let pairs = stated.iter().zip(expected).enumerate();
            pairs
                .map(|(at, (stated, expected))| first_difference(&format!("{field}[{at}]"), stated, expected))
                .find_map(|unlike| unlike)
        }
        _ => None,
    };
    below.or_else(|| Some((field.to_owned(), stated.clone(), expected.clone())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn first_difference_names_the_innermost_member() {
        let unlike = |stated, expected| first_difference("it", &stated, &expected).map(|(field, ..)| field);
        let named = |field: &str| Some(field.to_owned());
        assert_eq!(unlike(json!({"a": [1, 2]}), json!({"a": [1, 2]})), None);
        assert_eq!(unlike(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 3}]})), named("it.a[1].b"));
        assert_eq!(unlike(json!({"a": [1]}), json!({"a": [1, 2]})), named("it.a"));
        assert_eq!(unlike(json!({"a": 1}), json!({"a": 1, "b": 2})), named("it.b"));
        assert_eq!(unlike(json!({"a": 1, "b": 2}), json!({"a": 1})), named("it.b"));
        assert_eq!(unlike(json!({"a": 1, "b": null}), json!({"a": 1})), named("it"));
        assert_eq!(unlike(json!(null), json!({"a": 1})), named("it"));
    }
}
