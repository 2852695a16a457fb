//! What an address holds that must not be told: who asks, and what is asked for. Pure.

use std::ops::Range;

use super::plain::ELLIPSIS;

/// What stands between the scheme of an address and the rest.
const BEGIN: &str = "://";

/// Where users, passwords and queries stand in the addresses of a text, fragments included.
///
/// An address may have been cut in the middle, and a password may be written without the escapes that it needs. What
/// cannot be told from a password is taken for one.
pub(super) fn private_places(text: &str) -> Vec<Range<usize>> {
    let begins = text.match_indices(BEGIN).map(|(at, begin)| at + begin.len());
    begins.flat_map(|begin| places_behind(text, begin)).collect()
}

fn places_behind(text: &str, begin: usize) -> impl Iterator<Item = Range<usize>> {
    let rest = &text[begin..];
    let run = &rest[..rest.find(ends_an_address).unwrap_or(rest.len())];
    let authority = &run[..run.find(['/', '?', '#', '\\']).unwrap_or(run.len())];
    let is_cut = rest[run.len()..].starts_with(ELLIPSIS);
    let user = if let Some(at) = authority.rfind('@') {
        at
    } else if has_password(authority) && (run.contains('@') || is_cut || run.len() == rest.len()) {
        run.rfind('@').unwrap_or(run.len())
    } else if is_cut && authority.len() == run.len() {
        // Nobody can say whether that is a host or who asks it.
        run.len()
    } else {
        0
    };
    let query = run[user..].find('?').map_or(run.len(), |mark| user + mark + 1);
    let places = [0..user, query..run.len()];
    places
        .into_iter()
        .filter(|place| !place.is_empty())
        .map(move |place| begin + place.start..begin + place.end)
}

fn ends_an_address(c: char) -> bool {
    c.is_whitespace() || c.is_control() || ['"', '<', '>', '`', ELLIPSIS].contains(&c)
}

/// Whether what follows the first colon is no port.
fn has_password(authority: &str) -> bool {
    let is_literal = authority.starts_with('[');
    let behind = authority.split_once(if is_literal { "]:" } else { ":" }).map_or("", |(_, behind)| behind);
    // An address in prose has marks behind it.
    !behind.trim_end_matches(|c: char| c.is_ascii_punctuation()).bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> String {
        let mut cut = text.to_owned();
        for place in private_places(text).into_iter().rev() {
            cut.replace_range(place, "-");
        }
        cut
    }

    #[test]
    fn users_passwords_and_queries_are_found_wherever_an_address_stands() {
        for (text, expected) in [
            ("get https://me:pass@host:80/path failed", "get https://-@host:80/path failed"),
            ("https://t0ken@host", "https://-@host"),
            ("postgres://me:p@ss@host/db?sslmode=off: no", "postgres://-@host/db?- no"),
            ("(https://host/p?key=abc#token=def)", "(https://host/p?-"),
            (r#"{"url":"https://host?key=abc","n":1}"#, r#"{"url":"https://host?-","n":1}"#),
            ("a://b@c d://e/?f", "a://-@c d://e/?-"),
            ("https://me:ä@host/ö?ü", "https://-@host/ö?-"),
        ] {
            assert_eq!(cut(text), expected);
        }
    }

    #[test]
    fn what_says_only_where_it_is_stays() {
        for text in [
            "http://localhost:8000",
            "no answer from http://localhost:8000.",
            "'http://127.0.0.1:8000', again",
            "http://[::1]:8000/api and http://[::1]/",
            "https://registry.example/@scope/package",
            "http://host/path#part",
            "http://host/path?",
            "http://",
            "me@example.com: what?",
            "C://x",
        ] {
            assert_eq!(cut(text), text);
        }
    }

    #[test]
    fn a_password_without_its_escapes_is_found_whole() {
        for text in ["db://me:a/b?c#d@host/x", "db://me:a#b@host/x", r"db://me:a\b@host/x"] {
            assert_eq!(cut(text), "db://-@host/x", "{text}");
        }
    }

    #[test]
    fn an_address_that_was_cut_shows_no_beginning_of_a_password() {
        for (text, expected) in [
            ("at https://me:pa…", "at https://-…"),
            ("at https://me:12… | next", "at https://-… | next"),
            ("at https://t0ken…", "at https://-…"),
            ("at https://me:pa/ss…", "at https://-…"),
            ("at https://me:pa", "at https://-"),
            ("at https://host/pa…", "at https://host/pa…"),
            ("at https://host:80/pa?q=…", "at https://host:80/pa?-…"),
        ] {
            assert_eq!(cut(text), expected);
        }
    }
}
