//! A field whose value differs from the expected one.

use serde::Serialize;
use serde_json::Value;

/// A field whose value differs from the expected one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mismatch {
    pub(super) what: String,
    pub(super) stated: Value,
    pub(super) expected: Value,
    pub(super) why: String,
}

impl Mismatch {
    pub(super) fn new(what: &str, stated: Value, expected: Value, why: impl Into<String>) -> Self {
        Self { what: what.to_owned(), stated, expected, why: why.into() }
    }

    /// Returns the difference between `stated` and `expected`, named down to the first member that differs.
    pub(super) fn between(
        what: &str,
        stated: &Value,
        expected: &Value,
        why: impl FnOnce() -> String,
    ) -> Option<Self> {
        let (what, stated, expected) = first_difference(what, stated, expected)?;
        Some(Self { what, stated, expected, why: why() })
    }
}

/// Converts a value to JSON. A value that JSON cannot hold, such as a number that is not finite, becomes null.
pub(super) fn to_json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Returns the first member at or below `what` that differs, with its two values.
fn first_difference(what: &str, stated: &Value, expected: &Value) -> Option<(String, Value, Value)> {
    if stated == expected {
        return None;
    }
    let below = match (stated, expected) {
        (Value::Object(stated), Value::Object(expected)) => {
            let names = stated.keys().chain(expected.keys());
            names.into_iter().find_map(|name| {
                let of = |object: &serde_json::Map<_, _>| object.get(name).cloned().unwrap_or_default();
                first_difference(&format!("{what}.{name}"), &of(stated), &of(expected))
            })
        }
        (Value::Array(stated), Value::Array(expected)) if stated.len() == expected.len() => {
            let pairs = stated.iter().zip(expected).enumerate();
            pairs
                .map(|(at, (stated, expected))| first_difference(&format!("{what}[{at}]"), stated, expected))
                .find_map(|unlike| unlike)
        }
        _ => None,
    };
    below.or_else(|| Some((what.to_owned(), stated.clone(), expected.clone())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn first_difference_names_the_innermost_member() {
        let unlike = |stated, expected| first_difference("it", &stated, &expected).map(|(what, ..)| what);
        let named = |what: &str| Some(what.to_owned());
        assert_eq!(unlike(json!({"a": [1, 2]}), json!({"a": [1, 2]})), None);
        assert_eq!(unlike(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 3}]})), named("it.a[1].b"));
        assert_eq!(unlike(json!({"a": [1]}), json!({"a": [1, 2]})), named("it.a"));
        assert_eq!(unlike(json!({"a": 1}), json!({"a": 1, "b": 2})), named("it.b"));
        assert_eq!(unlike(json!({"a": 1, "b": 2}), json!({"a": 1})), named("it.b"));
        assert_eq!(unlike(json!({"a": 1, "b": null}), json!({"a": 1})), named("it"));
        assert_eq!(unlike(json!(null), json!({"a": 1})), named("it"));
    }
}
