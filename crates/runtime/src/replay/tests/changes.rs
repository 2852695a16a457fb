//! Finds and changes single values of an event. The tests of messages use it as well, on the journals of their traces.

use serde_json::{Map, Value, json};

/// Returns the paths of all values that have no members of their own.
pub(crate) fn leaf_paths(fields: &Map<String, Value>) -> Vec<String> {
    fn collect(value: &Value, path: &str, leaves: &mut Vec<String>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    collect(value, &format!("{path}/{name}"), leaves);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (at, value) in items.iter().enumerate() {
                    collect(value, &format!("{path}/{at}"), leaves);
                }
            }
            _ => leaves.push(path.to_owned()),
        }
    }
    let mut found = Vec::new();
    collect(&Value::Object(fields.clone()), "", &mut found);
    found
}

/// Changes one value, to one of the same type if possible.
pub(crate) fn change_value(fields: &mut Map<String, Value>, path: &str) {
    let mut value = Value::Object(std::mem::take(fields));
    let leaf = value.pointer_mut(path).unwrap();
    *leaf = match leaf.take() {
        Value::Number(n) if n.is_f64() => {
            json!((n.as_f64().unwrap() + 0.5) % 1.0 + n.as_f64().unwrap().floor())
        }
        Value::Number(n) => json!(n.as_u64().unwrap() ^ 1),
        Value::Bool(b) => json!(!b),
        Value::String(text) => json!(alternative_value(&text)),
        Value::Array(_) => json!([{"secs": 1, "nanos": 0}]),
        _ => json!(7),
    };
    let Value::Object(edited) = value else { unreachable!() };
    *fields = edited;
}

/// Returns another word that may stand in the same place.
fn alternative_value(word: &str) -> &str {
    let alternatives = [
        ["restart", "leave"],
        ["panic", "error"],
        ["fresh", "checkpoint"],
        ["permanent", "transient"],
        ["give_up", "escalate"],
        ["one_for_all", "rest_for_one"],
        ["never", "any_significant"],
        ["fail", "replace"],
    ];
    let other = alternatives.iter().find_map(|[one, other]| match word {
        _ if word == *one => Some(*other),
        _ if word == *other => Some(*one),
        _ => None,
    });
    other.unwrap_or("root/elsewhere/nobody")
}

/// Returns `/inputs/history/recent_restarts/at/0` in the form `inputs.history.recent_restarts.at[0]`.
pub(crate) fn dotted_path(path: &str) -> String {
    let mut field = String::new();
    for part in path.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(at) => field.push_str(&format!("[{at}]")),
            Err(_) if field.is_empty() => field.push_str(part),
            Err(_) => field.push_str(&format!(".{part}")),
        }
    }
    field
}
