//! Finds users, passwords and queries in the addresses of a text.

use std::ops::Range;

use super::safe_text::ELLIPSIS;

/// The delimiters of an address, as written in one form.
struct Delimiters {
    /// Stands between the scheme and the rest.
    scheme_end: &'static str,
    user_end: &'static str,
    password_start: &'static str,
    query_start: &'static str,
    authority_ends: &'static [&'static str],
}

const FORMS: [Delimiters; 4] = [
    PLAIN,
    // JSON, as PHP writes it.
    Delimiters { scheme_end: r":\/\/", ..PLAIN },
    // The value of a query.
    Delimiters {
        scheme_end: "%3A%2F%2F",
        user_end: "%40",
        password_start: "%3A",
        query_start: "%3F",
        authority_ends: &["%2F", "%3F", "%23", "&"],
    },
    Delimiters {
        scheme_end: "%3a%2f%2f",
        user_end: "%40",
        password_start: "%3a",
        query_start: "%3f",
        authority_ends: &["%2f", "%3f", "%23", "&"],
    },
];

const PLAIN: Delimiters = Delimiters {
    scheme_end: "://",
    user_end: "@",
    password_start: ":",
    query_start: "?",
    // A backslash ends the authority of `http` and its like only; elsewhere it may be part of a user.
    authority_ends: &["/", "?", "#"],
};

/// Returns the ranges of users, passwords and queries in the addresses of a text, fragments included.
///
/// An address may have been cut in the middle, and a password may lack the escapes that it needs. In doubt, a part
/// counts as a password.
pub(super) fn secret_ranges(text: &str) -> Vec<Range<usize>> {
    let of_form = |form: &'static Delimiters| {
        let starts = text.match_indices(form.scheme_end).map(|(at, start)| at + start.len());
        starts.flat_map(|start| form.secret_ranges_after(text, start))
    };
    FORMS.iter().flat_map(of_form).collect()
}

impl Delimiters {
    fn secret_ranges_after(&self, text: &str, start: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        // A parser skips further slashes before the authority of `http` and its like.
        let slashes = text[start..].split(|c| c != '/' && c != '\\').next().unwrap_or_default();
        let start = start + slashes.rfind('/').map_or(0, |last| last + 1);
        let rest = &text[start..];
        let run = &rest[..rest.find(is_url_end).unwrap_or(rest.len())];
        let ends = self.authority_ends.iter().filter_map(|end| run.find(end));
        let authority = &run[..ends.min().unwrap_or(run.len())];
        let is_cut = rest[run.len()..].starts_with(ELLIPSIS);
        let last_user_end = run.rfind(self.user_end);
        let user = if let Some(at) = authority.rfind(self.user_end) {
            at
        } else if self.has_password(authority)
            && (last_user_end.is_some() || is_cut || run.len() == rest.len())
        {
            last_user_end.unwrap_or(run.len())
        } else if is_cut && authority.len() == run.len() {
            // A cut authority may be a host or a user.
            run.len()
        } else {
            0
        };
        let query = run[user..].find(self.query_start);
        let query = query.map_or(run.len(), |mark| user + mark + self.query_start.len());
        let ranges = [0..user, query..run.len()];
        ranges
            .into_iter()
            .filter(|range| !range.is_empty())
            .map(move |range| start + range.start..start + range.end)
    }

    /// Returns whether the first colon is followed by something else than a port.
    fn has_password(&self, authority: &str) -> bool {
        // Colons before the bracket belong to an IPv6 address.
        let host = if authority.starts_with('[') { authority.split_once(']') } else { Some(("", authority)) };
        let behind =
            host.and_then(|(_, rest)| rest.split_once(self.password_start)).map_or("", |(_, behind)| behind);
        // An address in prose may be followed by punctuation.
        !behind.trim_end_matches(|c: char| c.is_ascii_punctuation()).bytes().all(|byte| byte.is_ascii_digit())
    }
}

fn is_url_end(c: char) -> bool {
    c.is_whitespace() || c.is_control() || ['"', '<', '>', '`', ELLIPSIS].contains(&c)
}

#[cfg(test)]
mod tests {
    use mainstay_runtime::journal::Redaction;
    use proptest::{collection, prelude::*, sample};
    use url::Url;

    use super::*;

    fn mask_secrets(text: &str) -> String {
        Redaction::redact_ranges(text, secret_ranges(text)).replace("[redacted]", "-")
    }

    #[test]
    fn credentials_and_queries_are_found_in_any_text() {
        for (text, expected) in [
            ("get https://me:pass@host:80/path failed", "get https://-@host:80/path failed"),
            ("https://t0ken@host", "https://-@host"),
            ("postgres://me:p@ss@host/db?sslmode=off: no", "postgres://-@host/db?- no"),
            ("(https://host/p?key=abc#token=def)", "(https://host/p?-"),
            (r#"{"url":"https://host?key=abc","n":1}"#, r#"{"url":"https://host?-","n":1}"#),
            ("a://b@c d://e/?f", "a://-@c d://e/?-"),
            ("https://me:ä@host/ö?ü", "https://-@host/ö?-"),
            (r"db://office\me:pass@host", "db://-@host"),
            (r"http:///\/me@host", r"http:///\/-@host"),
            (r"db://\@host", "db://-@host"),
        ] {
            assert_eq!(mask_secrets(text), expected);
        }
    }

    #[test]
    fn escaped_address_is_found() {
        for (text, expected) in [
            (r#"{"u":"https:\/\/me:pass@host\/a?b=c"}"#, r#"{"u":"https:\/\/-@host\/a?-"}"#),
            ("next=https%3A%2F%2Fme%3Apass%40host%2Fa", "next=https%3A%2F%2F-%40host%2Fa"),
            ("next=https%3a%2f%2fhost%2fa%3fb%3dc", "next=https%3a%2f%2fhost%2fa%3f-"),
            ("next=https%3A%2F%2Fhost%2Fa&n=1", "next=https%3A%2F%2Fhost%2Fa&n=1"),
            ("next=https%3A%2F%2Fme%3Apa…", "next=https%3A%2F%2F-…"),
        ] {
            assert_eq!(mask_secrets(text), expected);
        }
    }

    #[test]
    fn url_without_secrets_stays() {
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
            assert_eq!(mask_secrets(text), text);
        }
    }

    #[test]
    fn unescaped_password_is_found_whole() {
        for text in ["db://me:a/b?c#d@host/x", "db://me:a#b@host/x", r"db://me:a\b@host/x"] {
            assert_eq!(mask_secrets(text), "db://-@host/x", "{text}");
        }
    }

    #[test]
    fn truncated_url_shows_no_part_of_a_password() {
        for (text, expected) in [
            ("at https://me:pa…", "at https://-…"),
            ("at https://me:12… | next", "at https://-… | next"),
            ("at https://t0ken…", "at https://-…"),
            ("at https://me:pa/ss…", "at https://-…"),
            ("at https://me:pa", "at https://-"),
            ("at https://host/pa…", "at https://host/pa…"),
            ("at https://host:80/pa?q=…", "at https://host:80/pa?-…"),
        ] {
            assert_eq!(mask_secrets(text), expected);
        }
    }

    proptest! {
        #[test]
        fn what_a_parser_takes_for_a_secret_is_found(
            scheme in sample::select(&["http", "wss", "db"][..]),
            parts in collection::vec(
                sample::select(&["me", "1", "@", ":", "/", "?", "#", "\\", "[::1]", "%40", "ä", ".", ","][..]),
                0..12,
            ),
        ) {
            let text = format!("{scheme}://{}", parts.concat());
            if let (Ok(_), Ok(masked)) = (Url::parse(&text), Url::parse(&mask_secrets(&text))) {
                prop_assert!(["", "-"].contains(&masked.username()), "{} {}", text, masked);
                prop_assert_eq!(masked.password(), None, "{}", text);
                prop_assert!(["", "-"].contains(&masked.query().unwrap_or_default()), "{} {}", text, masked);
            }
        }
    }
}
