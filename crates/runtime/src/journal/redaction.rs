//! Removes secrets from an event before it becomes a line.
//!
//! The search looks at the text that a JSON string stands for, so it finds a secret behind any escape. A number that
//! holds a secret is replaced as a whole.

use std::borrow::Cow;
use std::ops::Range;

use super::line::push_json_string;

const REPLACEMENT: &str = "[redacted]";

/// The texts that must stay secret, and the means to remove them from other texts.
#[derive(Clone, Default)]
pub struct Redaction {
    secrets: Vec<String>,
}

impl Redaction {
    /// Returns a redaction of these texts. An empty text is ignored.
    #[must_use]
    pub fn new(secrets: &[String]) -> Self {
        Self { secrets: secrets.iter().filter(|secret| !secret.is_empty()).cloned().collect() }
    }

    /// Returns plain text without the secrets: `[redacted]` stands in the place of each.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Self::redact_ranges(text, self.secret_ranges(text))
    }

    /// Returns the text with these ranges replaced. They may come in any order and may overlap. Each must lie on
    /// character boundaries.
    #[must_use]
    pub fn redact_ranges(text: &str, places: Vec<Range<usize>>) -> Cow<'_, str> {
        if places.is_empty() {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(replace_ranges(text, merge_ranges(places)))
        }
    }

    /// Returns a JSON text whose keys, strings and numbers are without the secrets.
    pub(super) fn redact_json<'a>(&self, json: &'a str) -> Cow<'a, str> {
        // JSON without an escape has every string as it is, so a plain search finds every secret.
        if self.secrets.is_empty() || !json.contains('\\') && !self.contains_secret(json) {
            return Cow::Borrowed(json);
        }
        let mut clean = String::with_capacity(json.len());
        let mut rest = json;
        while let Some(first) = rest.bytes().next() {
            let (token, behind) = rest.split_at(token_length(first, rest));
            match first {
                b'"' => self.redact_string(token, &mut clean),
                b'-' | b'0'..=b'9' if self.contains_secret(token) => {
                    push_json_string(REPLACEMENT, &mut clean)
                }
                _ => clean.push_str(token),
            }
            rest = behind;
        }
        Cow::Owned(clean)
    }

    fn contains_secret(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret))
    }

    fn redact_string(&self, token: &str, clean: &mut String) {
        let text = match serde_json::from_str::<Cow<'_, str>>(token) {
            Ok(text) => text,
            // Our own serialiser writes no such string, so its content is not known.
            Err(_) => return push_json_string(REPLACEMENT, clean),
        };
        match self.redact(&text) {
            Cow::Borrowed(_) => clean.push_str(token),
            Cow::Owned(redacted) => push_json_string(&redacted, clean),
        }
    }

    /// Returns the places of the secrets, from left to right. Places that overlap are merged, so that nothing of
    /// either secret is left.
    #[must_use]
    pub fn secret_ranges(&self, text: &str) -> Vec<Range<usize>> {
        merge_ranges(self.secrets.iter().flat_map(|secret| find_all(text, secret)).collect())
    }
}

/// Merges ranges into ranges from left to right of which none overlap.
fn merge_ranges(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|place| place.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for place in found {
        match merged.last_mut() {
            Some(last) if place.start < last.end => last.end = last.end.max(place.end),
            _ => merged.push(place),
        }
    }
    merged
}

fn replace_ranges(text: &str, places: Vec<Range<usize>>) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    for place in places {
        clean.push_str(&text[done..place.start]);
        clean.push_str(REPLACEMENT);
        done = place.end;
    }
    clean.push_str(&text[done..]);
    clean
}

/// Finds all places of `secret`, also those that overlap each other.
fn find_all<'a>(text: &'a str, secret: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    let step = secret.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text.get(from..)?.find(secret)?;
        from = at + step;
        Some(at..at + secret.len())
    })
}

/// Returns the length of the string, the number or the other token that `json` begins with.
fn token_length(first: u8, json: &str) -> usize {
    let bytes = json.as_bytes();
    match first {
        b'"' => {
            let mut at = 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            (at + 1).min(bytes.len())
        }
        b'-' | b'0'..=b'9' => {
            let is_of_a_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
            bytes.iter().position(|byte| !is_of_a_number(byte)).unwrap_or(bytes.len())
        }
        _ => {
            let begins_a_token = |byte: &u8| matches!(byte, b'"' | b'-' | b'0'..=b'9');
            bytes.iter().position(begins_a_token).unwrap_or(bytes.len())
        }
    }
}

#[cfg(test)]
mod tests;
