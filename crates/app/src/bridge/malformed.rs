//! Says in plain words why a command cannot be read: of a wrong value its member, what it is and what would be right.
//! Pure.

use serde_json::{Map, Value};

use crate::config::{ConfigFault, index_step, key_step};
use crate::suggestion::{explain_shape, join_quoted};

/// The members that choose what the others are, so serde reads them first.
const TAGS: [&str; 3] = ["type", "agent", "action"];
/// The most members of one value among which the wrong one is searched. Each costs one more reading.
const SEARCHED_MAX: usize = 64;

/// Explains the `error` of `read` for `command`, in words for a person.
///
/// Serde does not say which member it refuses. The wrong one is the first with which the same error appears.
pub(super) fn explain(
    command: &Value,
    error: &str,
    read: impl Fn(Value) -> Result<(), serde_json::Error>,
) -> String {
    if ["unknown variant", "unknown field", "missing field"].iter().any(|words| error.starts_with(words)) {
        return explain_shape(error);
    }
    let refusal_of = |value: Value| read(value).err().map(|error| error.to_string());
    let fails = |value: Value| refusal_of(value).as_deref() == Some(error);
    let Some(found) = find(command, &fails) else { return error.to_owned() };
    let fault = match error.split_once(", expected ") {
        Some((unexpected, expected)) => {
            // A text in its place has serde list the names that may stand there.
            let named = refusal_of(replaced(command, &found.steps, Value::from("")));
            let expected = names(named.as_deref()).unwrap_or_else(|| plain(expected));
            match unexpected.starts_with("invalid type") {
                true => ConfigFault::wrong_type(&expected, kind(found.value)),
                false => ConfigFault::new(format!("must be {expected}")),
            }
        }
        None => ConfigFault::new(format!("cannot be read: {error}")),
    };
    let path: String = found.steps.iter().map(PathStep::shown).collect();
    fault.within(&path, 0).message()
}

/// A step from a value to one within it.
#[derive(Debug, Clone)]
enum PathStep {
    Member(String),
    Item(usize),
}

impl PathStep {
    fn shown(&self) -> String {
        match self {
            Self::Member(name) => key_step(name),
            Self::Item(index) => index_step(*index),
        }
    }
}

/// A wrong value and the way to it.
struct WrongValue<'v> {
    steps: Vec<PathStep>,
    value: &'v Value,
}

/// Returns the first value within `value` with which `fails` is true; `None` if `value` fails without any.
fn find<'v>(value: &'v Value, fails: &dyn Fn(Value) -> bool) -> Option<WrongValue<'v>> {
    let parts: Vec<(PathStep, &Value)> = match value {
        Value::Object(members) => {
            let (tags, others): (Vec<_>, Vec<_>) =
                members.iter().partition(|(name, _)| TAGS.contains(&name.as_str()));
            let ordered = tags.into_iter().chain(others);
            ordered.map(|(name, member)| (PathStep::Member(name.clone()), member)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, item)| (PathStep::Item(at), item)).collect()
        }
        _ => return None,
    };
    let mut kept = match value {
        Value::Object(_) => Value::Object(Map::new()),
        _ => Value::Array(Vec::new()),
    };
    if fails(kept.clone()) {
        return None;
    }
    for (step, part) in parts.into_iter().take(SEARCHED_MAX) {
        let with = |inner: Value| {
            let mut whole = kept.clone();
            put(&mut whole, &step, inner);
            whole
        };
        if fails(with(part.clone())) {
            let within = find(part, &|inner| fails(with(inner)));
            let (steps, value) = within.map_or((Vec::new(), part), |found| (found.steps, found.value));
            return Some(WrongValue { steps: [vec![step], steps].concat(), value });
        }
        put(&mut kept, &step, part.clone());
    }
    None
}

/// Puts a member into an object, or an item at the end of a list or in the place of one.
fn put(whole: &mut Value, step: &PathStep, part: Value) {
    match (whole, step) {
        (Value::Object(members), PathStep::Member(name)) => {
            members.insert(name.clone(), part);
        }
        (Value::Array(items), PathStep::Item(at)) => match items.get_mut(*at) {
            Some(item) => *item = part,
            None => items.push(part),
        },
        _ => {}
    }
}

/// Returns `value` with another value at the end of `steps`.
fn replaced(value: &Value, steps: &[PathStep], other: Value) -> Value {
    let Some((step, rest)) = steps.split_first() else { return other };
    let part = match step {
        PathStep::Member(name) => value.get(name),
        PathStep::Item(at) => value.get(at),
    };
    let mut whole = value.clone();
    put(&mut whole, step, replaced(part.unwrap_or(&Value::Null), rest, other));
    whole
}

/// Returns the names that serde lists in an error about an unknown one.
fn names(error: Option<&str>) -> Option<String> {
    let known = error?.strip_prefix("unknown variant ``, expected ")?;
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    Some(join_quoted(&known, "or"))
}

/// Returns the plain words for a type that serde names.
fn plain(expected: &str) -> String {
    match expected {
        "u64" | "usize" => "a whole number of at least 0".to_owned(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        other => other.to_owned(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a float",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::bridge::command::parse;

    #[test]
    fn wrong_value_names_member_type_and_right_type() {
        let expected = expect![[r#"
            "type": "cache", "action": 5                               => "folder" is missing
            "type": "request", "method": 1                             => "method" must be a string, not an integer
            "type": "request", "method": "GET", "path": null           => "path" must be a string, not null
            "type": "request", "timeout_ms": "x", "wait_timeout_ms": "x" => "timeout_ms" must be a whole number of at least 0, not a string
            "type": "request", "cache_ms": 1.5                         => "cache_ms" must be a whole number of at least 0, not a float
            "type": "request", "retries": -1                           => "retries" must be a whole number from 0 to 4294967295
            "type": "request", "shared": "yes"                         => "shared" must be true or false, not a string
            "type": "request", "priority": 7                           => "priority" must be "high", "normal" or "low", not an integer
            "type": "request", "headers": []                           => "headers" must be an object, not a list
            "type": "request", "headers": {"a": "b", "c": {}}          => "headers.c" must be a string, not an object
            "type": "connection", "action": "listen", "types": ["a", 2] => "types[1]" must be a string, not an integer
            "type": "agent", "agent": "a", "action": "cancel", "message_id": "7" => "message_id" must be a whole number of at least 0, not a string
            "type": "subscribe", "after": 3                            => "after" must be a string, not an integer
            "type": "subscribe", "after": "3"                          => "after" cannot be read: "3" is not a cursor: it reads RUN.SEQ, such as 3.17
        "#]];
        let answers =
            expected.data().lines().filter_map(|line| line.split_once(" => ")).map(|(members, _)| {
                let (_, read) = parse(&format!("{{\"id\": 1, {}}}", members.trim()));
                format!("{:58} => {}\n", members.trim(), read.unwrap_err().details.unwrap_or_default())
            });
        expected.assert_eq(&answers.collect::<String>());
    }
}
