//! Suggests the nearest known name for one that is not known: of a key, an agent, an actor or a kind of event. Pure.

use mainstay_actors::suggestion::nearest;

/// The most characters of an unknown name that are shown.
const NAME_CHARS_MAX: usize = 64;
/// The most known names that are listed.
const LISTED_MAX: usize = 20;

/// Names the nearest of the known keys, or all of them if none is near.
pub(crate) fn hint(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("valid keys are {}", join_quoted(known, "and")),
    }
}

/// Adds the nearest of the known names to a sentence that lists them; empty if none is near.
pub(crate) fn nearest_hint(name: &str, known: &[&str]) -> String {
    nearest(name, known).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
}

/// Says that there is no `thing` of this name. Names the nearest of the known ones, or the first of them if none is
/// near.
pub(crate) fn unknown_name<'k>(thing: &str, name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let shown: String = name.chars().take(NAME_CHARS_MAX).collect();
    let cut = if shown.len() < name.len() { "…" } else { "" };
    let rest = match nearest(name, &known) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => "there is none at all".to_owned(),
        None => {
            let listed = &known[..known.len().min(LISTED_MAX)];
            let more = match known.len() - listed.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let listed: Vec<String> = listed.iter().map(|name| format!("{name:?}")).collect();
            format!("known are {}{more}", listed.join(", "))
        }
    };
    format!("there is no {thing} {shown:?}{cut}; {rest}")
}

/// Says in plain words which name of a JSON value serde did not know, with the nearest known one. Other errors of serde
/// stay as they are.
pub(crate) fn explain_shape(error: &str) -> String {
    let quoted: Vec<&str> = error.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known))
            if error.starts_with("unknown variant") || error.starts_with("unknown field") =>
        {
            let rest = match nearest(unknown, known) {
                Some(near) => format!("did you mean {near:?}?"),
                None if known.is_empty() => "nothing else may stand here".to_owned(),
                None => format!("known are {}", join_quoted(known, "and")),
            };
            format!("{unknown:?} is not known here; {rest}")
        }
        Some((missing, _)) if error.starts_with("missing field") => format!("{missing:?} is missing"),
        _ => error.to_owned(),
    }
}

/// Lists names in quotes: `"a", "b" or "c"`.
pub(crate) fn join_quoted(names: &[&str], conjunction: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {conjunction} {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["max_retries", "delay_min", "delay_max", "path"];

    #[test]
    fn slip_names_the_nearest_key() {
        for (wrong, right) in [
            ("max_retires", "max_retries"),
            ("max-retries", "max_retries"),
            ("maxRetries", "max_retries"),
            ("delay_mx", "delay_max"),
            ("delay_mim", "delay_min"),
            ("Path", "path"),
        ] {
            assert_eq!(hint(wrong, &KEYS), format!("did you mean \"{right}\"?"));
        }
    }

    #[test]
    fn key_far_from_all_lists_them() {
        for far in ["timeout", "", "x", &"path".repeat(1_000)] {
            assert_eq!(
                hint(far, &KEYS),
                "valid keys are \"max_retries\", \"delay_min\", \"delay_max\" and \"path\""
            );
        }
    }

    #[test]
    fn unknown_name_suggests_nearest_or_lists_some() {
        let actors = ["root/agents/planner", "root/agents/agent-12"];
        for (name, expected) in [
            ("root/agent/planer", "did you mean \"root/agents/planner\"?"),
            ("planner", "did you mean \"root/agents/planner\"?"),
            ("agent_21", "did you mean \"root/agents/agent-12\"?"),
            ("nothing\n", "known are \"root/agents/planner\", \"root/agents/agent-12\""),
        ] {
            assert_eq!(
                unknown_name("actor", name, actors),
                format!("there is no actor {name:?}; {expected}")
            );
        }
        let many: Vec<String> = (0..23).map(|number| format!("name{number}")).collect();
        let text = unknown_name("agent", &"x".repeat(5_000), many.iter().map(String::as_str));
        assert!(text.len() < 400 && text.ends_with("\"name19\" and 3 more"), "{text}");
        assert_eq!(unknown_name("agent", "x", []), "there is no agent \"x\"; there is none at all");
    }

    #[test]
    fn shape_of_json_is_explained_with_the_nearest_name() {
        for (error, expected) in [
            (
                "unknown variant `sho`, expected one of `show`, `start`, `stop`",
                "\"sho\" is not known here; did you mean \"show\"?",
            ),
            ("unknown field `x`, expected `action`", "\"x\" is not known here; known are \"action\""),
            (
                "unknown field `x`, there are no fields",
                "\"x\" is not known here; nothing else may stand here",
            ),
            ("missing field `action`", "\"action\" is missing"),
            ("invalid type: string \"x\", expected u64", "invalid type: string \"x\", expected u64"),
        ] {
            assert_eq!(explain_shape(error), expected);
        }
    }

    #[test]
    fn list_of_one_has_no_conjunction() {
        assert_eq!(join_quoted(&["none"], "or"), "\"none\"");
        assert_eq!(join_quoted(&["a", "b"], "or"), "\"a\" or \"b\"");
    }
}
