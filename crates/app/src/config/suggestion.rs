//! Suggestions for unknown keys.

/// The length above which a key is not compared: it is no typing error.
const KEY_BYTES_MAX: usize = 64;

/// Names the nearest of the known keys, or all of them if none is near.
pub(crate) fn hint(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("valid keys are {}", join_quoted(known, "and")),
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

/// Returns the known key with the fewest typing errors: at most one in three characters. `-` and capitals do not count.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    if key.len() > KEY_BYTES_MAX {
        return None;
    }
    let plain = key.to_lowercase().replace('-', "_");
    let slips_max = (plain.chars().count() / 3).max(1);
    known
        .iter()
        .map(|name| (strsim::osa_distance(&plain, name), *name))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["max_retries", "delay_min", "delay_max", "path"];

    #[test]
    fn a_slip_names_the_nearest_key() {
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
    fn a_key_far_from_all_lists_them() {
        for far in ["timeout", "", "x", &"path".repeat(1_000)] {
            assert_eq!(
                hint(far, &KEYS),
                "valid keys are \"max_retries\", \"delay_min\", \"delay_max\" and \"path\""
            );
        }
    }

    #[test]
    fn a_list_of_one_has_no_conjunction() {
        assert_eq!(join_quoted(&["none"], "or"), "\"none\"");
        assert_eq!(join_quoted(&["a", "b"], "or"), "\"a\" or \"b\"");
    }
}
